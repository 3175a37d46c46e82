"""The commands of docs/add-a-registry.md, run in order in one shell, do what the page describes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from support.host import COMMAND

from omnicdc.testing.embedded import bundled

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

PAGE = Path(__file__).parents[2] / "docs/add-a-registry.md"


def blocks() -> list[str]:
    """Return the shell blocks of the page."""
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def shell(host: Host, directory: Path, script: str) -> str:
    """Run a script in bash, with the environment of the host and libpq's variables."""
    target = psycopg.conninfo.conninfo_to_dict(host.env["OMNICDC_DSN"])
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
    libpq = {variable: str(target[name]) for name, variable in names.items() if name in target}
    path = f"{Path(COMMAND).parent}:{bundled()}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"], cwd=directory, env=host.env | libpq | {"PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_commands_of_the_page_keep_five_registries_current(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    *first, write = blocks()
    listed = shell(host, tmp_path, "\n".join(first))
    host.env["OMNICDC_CONFIG"] = str(tmp_path / "omnicdc.yaml")
    host.daemon()
    output = shell(host, tmp_path, write)

    assert '"faults": {}' in listed
    assert '"path": "governance/registry/projects.map"' in listed
    assert '"verdict": "published"' in output
    assert '"verified": true' in output
    assert '"name": "Apollo", "agents": ["ada"]' in output
    assert ",ada,human,\n" in output
    assert "  apollo.example active;\n}\n" in output
    assert '{"targets": ["ada.example:9100"], "labels": {"project": "Apollo"}}' in output
    assert cmp.arrived().status in {"published", "nothing_to_do"}
