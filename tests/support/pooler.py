"""Runs pgbouncer, of Debian's package `pgbouncer`, between a test and its server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from omnicdc.testing.embedded import unprivileged
from support.host import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp

POOLER = shutil.which("pgbouncer") or ("/usr/sbin/pgbouncer" if Path("/usr/sbin/pgbouncer").exists() else "")
POOLER_INI = """[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr =
unix_socket_dir = {directory}
listen_port = 6432
auth_type = trust
auth_file = {directory}/users
pool_mode = {mode}
default_pool_size = {size}
client_login_timeout = {patience_s}
query_wait_timeout = {patience_s}
server_login_retry = 1
"""

needs_pooler = pytest.mark.skipif(not POOLER, reason="needs the package pgbouncer")


@contextmanager
def pooler(cmp: Cmp, mode: str, size: int = 5) -> Iterator[str]:
    """Run pgbouncer; give the connection string of CMP through it."""
    info = conninfo_to_dict(cmp.dsn)
    with running(
        mode=mode, size=size, host=str(info["host"]), port=str(info["port"]), user=str(info["user"])
    ) as address:
        dsn = f"{address} dbname={info['dbname']} user={info['user']}"
        until(partial(_takes_connections, dsn), "pgbouncer accepts connections")
        yield dsn


@contextmanager
def running(*, mode: str, size: int, host: str, port: str, user: str, patience_s: int = 60) -> Iterator[str]:
    """Run pgbouncer for a server, which may be down; give the host and port of the pooler.

    A client waits up to `patience_s` for a server connection.
    """
    directory = Path(tempfile.mkdtemp(prefix="omnicdc-pooler-"))
    (directory / "users").write_text(f'"{user}" ""\n')
    ini = POOLER_INI.format(
        directory=directory, mode=mode, size=size, host=host, port=port, patience_s=patience_s
    )
    (directory / "ini").write_text(ini)
    command = [POOLER, str(directory / "ini")]
    if os.geteuid() == 0:  # pgbouncer refuses to run as root, as PostgreSQL does
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, unprivileged().pw_name)
        command.insert(1, f"--user={unprivileged().pw_name}")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(partial(_listens, directory / ".s.PGSQL.6432"), "pgbouncer listens")
        yield f"host={directory} port=6432"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory)


def _listens(path: Path) -> bool:
    """Return whether a server listens. The socket file exists earlier."""
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(str(path))
        except OSError:
            return False
    return True


def _takes_connections(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True
