"""What a program imports with a client: not what only the daemon and the command need."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

CLIENTS = ("GenesisClient", "AsyncGenesisClient", "MigrationClient", "ArchiveClient", "ValidationClient")

HEAVY = {"pglast", "ruamel", "rich", "pygments", "structlog", "click", "jinja2", "tenacity"}
"""The daemon, the command and declared registries need these. A program that uses a client may not have to
pay for them."""

PRINT_MODULES = (
    "import json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
)


def imported(program: str, **env: str) -> set[str]:
    """Return the packages that a process has imported after `program`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{PRINT_MODULES}"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {*json.loads(done.stdout)}


@pytest.mark.parametrize("client", CLIENTS)
def test_importing_a_client_imports_no_heavy_package(client: str) -> None:
    found = imported(f"from omnicdc.clients import {client}")

    assert "psycopg" in found
    assert not found & HEAVY


WAIT = """
from omnicdc.clients import {client}
with {client}() as client: assert client.wait(timeout=120.0)["success"]
"""

VERIFY = """
from omnicdc.clients import GenesisClient
with GenesisClient() as client: assert client.verify_propagation("{project}")["verified"]
"""

PROPAGATE = """
from omnicdc.clients import GenesisClient
with GenesisClient() as client: assert client.propagate_project("apollo")["success"]
"""

PROPAGATE_ASYNC = """
import asyncio
from omnicdc.clients import AsyncGenesisClient
async def main():
    async with AsyncGenesisClient() as client:
        assert (await client.propagate_project("apollo"))["success"]
asyncio.run(main())
"""


def test_a_wait_imports_no_heavy_package(cmp: Cmp, host: Host) -> None:
    cmp.upsert("apollo")
    host.daemon()
    waits = [WAIT.format(client=client) for client in CLIENTS if client != "AsyncGenesisClient"]

    for program in (*waits, PROPAGATE, PROPAGATE_ASYNC):
        assert not imported(program, **host.env) & HEAVY, program


def test_verifying_a_project_imports_no_parser_and_no_terminal(cmp: Cmp, host: Host) -> None:
    apollo = cmp.upsert("apollo")
    host.once()

    assert not imported(VERIFY.format(project=apollo), **host.env) & {"pglast", "rich", "pygments", "click"}
