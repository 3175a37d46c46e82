"""The server of all contenders. Each has its own database with the same projects."""

from __future__ import annotations

import secrets
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql as pgsql

from bench.ground import Ground
from bench.pgbench import IDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.ground import Estate

PROJECTS = 1_000

LOGICAL = {"wal_level": "logical", "max_replication_slots": "10", "max_wal_senders": "10"}
"""Debezium needs these settings. They apply to all contenders, so that all have the same server."""

ACCESS = """
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A ground with TCP and a password, as Java's driver does not support unix sockets."""

    ground: Ground
    password: str

    @contextmanager
    def estate(self, name: str, *, captured: bool) -> Iterator[Estate]:
        """Give a CMP whose ids pgbench can compute from a number."""
        with self.ground.estate(name, PROJECTS, captured=captured) as estate:
            estate.cmp.conn.execute(IDS)
            yield estate


@contextmanager
def serving() -> Iterator[Server]:
    """Give a server, and remove it at the end."""
    port = _free_port()
    ground = Ground({**LOGICAL, "listen_addresses": "127.0.0.1", "port": str(port)})
    try:
        ground.server.port = port
        (ground.directory / "server/data/pg_hba.conf").write_text(ACCESS)
        password = secrets.token_hex()
        with psycopg.connect(ground.server.dsn(), autocommit=True) as conn:
            conn.execute(pgsql.SQL("alter role postgres password {}").format(password))
            conn.execute("select pg_reload_conf()")
        yield Server(ground, password)
    finally:
        ground.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
