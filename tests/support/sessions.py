"""Other sessions of the database: login roles, listeners on the doorbell, locks and prepared transactions."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from psycopg import sql as pgsql

from omnicdc.testing.embedded import bundled
from support.host import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp


def dump(cmp: Cmp) -> list[str]:
    """Return the definitions in the database, with all rights, as pg_dump writes them."""
    done = subprocess.run(
        [bundled() / "pg_dump", "--schema-only", cmp.dsn], capture_output=True, text=True, check=True
    )
    # Newer releases write a random word before and after the dump, and number the columns anew.
    return [
        line
        for line in done.stdout.splitlines()
        if not line.startswith(("\\restrict", "\\unrestrict")) and "SET (pg_attver=" not in line
    ]


def psql(dsn: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with psql, as the header of the script says."""
    return subprocess.run(
        [
            bundled() / "psql", "--no-psqlrc", "--quiet", "--single-transaction", "-v", "ON_ERROR_STOP=1",
            "-f", "-", dsn,
        ],
        input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip


def backend(conn: psycopg.Connection[Any]) -> int:
    """Return the process id of the backend of a connection."""
    return conn.info.backend_pid


def waits_for_a_lock(cmp: Cmp, pid: int) -> bool:
    """Return whether a backend waits for a lock."""
    return bool(cmp.value("select exists (select from pg_locks where pid = %s and not granted)", pid))


@contextmanager
def prepared(cmp: Cmp) -> Iterator[str]:
    """Give the name of a prepared transaction that has written a project. Roll it back if it is left."""
    name = f"prepared_{os.getpid()}"
    with cmp.connect() as conn:
        conn.execute("begin")
        cmp.upsert("prepared", conn=conn)
        conn.execute(f"prepare transaction '{name}'")
    try:
        yield name
    finally:
        if cmp.value("select exists (select from pg_prepared_xacts where gid = %s)", name):
            cmp.conn.execute(f"rollback prepared '{name}'")


class Ear:
    """Listens on the channel of the doorbell, beside the consumer."""

    def __init__(self, cmp: Cmp) -> None:
        self._conn = cmp.connect()
        self._conn.execute("listen omnicdc_change; listen silence")

    def rings(self) -> int:
        """Return the number of notifications since the last call.

        Notifications arrive in the order of commits. So after the one that is sent here, none that was sent
        before can be missing.
        """
        self._conn.execute("notify silence")
        for rings, notification in enumerate(self._conn.notifies(timeout=DEADLINE_S)):
            if notification.channel == "silence":
                return rings
        raise AssertionError("our own notification never came")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._conn.close()


class People:
    """Login roles of one test, which are dropped at its end."""

    _numbers = count()

    def __init__(self, cmp: Cmp) -> None:
        self._cmp = cmp
        self._names: list[str] = []

    def add(self, *groups: str, options: str = "") -> str:
        """Create a login role that is a member of `groups`; return its name."""
        name = f"person_{os.getpid()}_{next(self._numbers)}"
        self._cmp.conn.execute(f"create role {name} login {options}")
        for group in groups:
            self._cmp.conn.execute(
                pgsql.SQL("grant {} to {}").format(pgsql.Identifier(group), pgsql.Identifier(name))
            )
        self._names.append(name)
        return name

    def dsn(self, name: str) -> str:
        """Return the connection string of CMP for this role."""
        return psycopg.conninfo.make_conninfo(self._cmp.dsn, user=name)

    def connect(self, name: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as this role, in autocommit mode."""
        return psycopg.connect(self.dsn(name), autocommit=True)

    def writer(self) -> str:
        """Create a role that may write the projects and has no rights on omnicdc; return its name."""
        name = self.add()
        self._cmp.conn.execute(
            pgsql.SQL("grant select, insert, update, delete, truncate on projects to {}").format(
                pgsql.Identifier(name)
            )
        )
        return name

    def close(self) -> None:
        """Drop the objects and rights of the roles, and then the roles."""
        with self._cmp.connect() as conn:
            for name in map(pgsql.Identifier, reversed(self._names)):
                conn.execute(pgsql.SQL("drop owned by {} cascade").format(name))
            for name in map(pgsql.Identifier, reversed(self._names)):
                conn.execute(pgsql.SQL("drop role {}").format(name))


@pytest.fixture
def people(cmp: Cmp) -> Iterator[People]:
    """Login roles for `cmp`."""
    people = People(cmp)
    yield people
    people.close()


@pytest.fixture
def ear(cmp: Cmp) -> Iterator[Ear]:
    """A listener on the doorbell of `cmp`."""
    with Ear(cmp) as ear:
        yield ear
