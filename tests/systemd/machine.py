"""The machine on which the scenarios run.

CMP's server, the files that `pip install` creates, and functions that inspect the service.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from support.cmp import TABLE

from systemd.page import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.testing.embedded import EmbeddedServer

CMP = "host=cmp.example.org port=5433 dbname=cms_db user=postgres"
PREFIX = Path("/opt/omnicdc")
DROP_INS = Path("/etc/systemd/system/omnicdc.service.d")
DEADLINE_S = 60.0


def prepare(server: EmbeddedServer) -> None:
    """Prepare what the documented commands need.

    This is CMP's server, its host name, the machine's journal, and the result of `pip install`.
    """
    subprocess.run(["systemctl", "start", "systemd-journald.socket"], check=True)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write("127.0.0.1 cmp.example.org\n")
    pip_install()
    server.port = 5433
    server.create()
    rules = server.directory / "data/pg_hba.conf"
    rules.write_text("host all registry_host all scram-sha-256\n" + rules.read_text())
    server.start()
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("create database cms_db")
    with psycopg.connect(CMP, autocommit=True) as owner:
        owner.execute(TABLE)


def pip_install() -> None:
    """Create the files that `pip install` would create.

    They are the command, which runs this interpreter, and the files for systemd.
    """
    own = sorted({Path(sys.prefix), Path(sys.base_prefix), CHECKOUT})
    readable_by_all(own)
    command = PREFIX / "bin/omnicdc"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m omnicdc "$@"\n')
    command.chmod(0o755)
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    for file, place in wheel["shared-data"].items():
        (PREFIX / place).parent.mkdir(parents=True, exist_ok=True)
        (PREFIX / place).write_bytes((CHECKOUT / file).read_bytes())
    # The service does not see the machine's /tmp, but the checkout may be there.
    drop_in("checkout", f"[Service]\nBindReadOnlyPaths={' '.join(map(str, own))}\n")


def readable_by_all(directories: list[Path]) -> None:
    """Let all users read these. A documented installation has no strict umask and no closed home."""
    for above in {above for directory in directories for above in directory.parents}:
        above.chmod(above.stat().st_mode | 0o011)
    closed = ["(", "!", "-type", "l", "!", "-perm", "-o=r", "-o", "-type", "d", "!", "-perm", "-o=x", ")"]
    subprocess.run(["find", *directories, *closed, "-exec", "chmod", "go+rX", "{}", "+"], check=True)


def service() -> dict[str, str]:
    """Return the properties of the service in systemd."""
    wanted = (
        "ActiveState,SubState,Result,MainPID,NRestarts,ExecMainStatus,StatusText,UnitFileState,"
        "WatchdogTimestampMonotonic,InvocationID"
    )
    lines = output_of("systemctl", "show", "omnicdc", f"--property={wanted}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def is_active() -> bool:
    return service()["ActiveState"] == "active"


def until(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds. Return whether it did before the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if condition():
                return True
        time.sleep(0.05)
    return False


def drop_in(name: str, lines: str) -> Path:
    """Change the unit as `systemctl edit` does. Return the file."""
    DROP_INS.mkdir(parents=True, exist_ok=True)
    file = DROP_INS / f"{name}.conf"
    file.write_text(lines)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    return file


def output_of(*command: str) -> str:
    """Return the output of a command."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
