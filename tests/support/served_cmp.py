"""A CMP whose schema changes while it is written, and a registry host.

Tests run the remedies exactly as `omnicdc status` shows them.
"""

from __future__ import annotations

import re
import shlex
import signal
import threading
import time
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.delivery import wait as waits
from omnicdc.stop import Stop
from support.host import DEADLINE_S, Daemon, Host, until
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from omnicdc.delivery.verdict import Verdict
    from support.cmp import Cmp
    from support.sessions import People

PROJECTS = 120
"""The number of projects in CMP at the start."""

SHOWN: LiteralString = """
select id::text, name::text, type::text, key::text, metadata_ ->> 'github_url', metadata_ ->> 'domain',
       status::text
  from {}
"""


INSTALL = "`omnicdc install"


class Writers:
    """Connections that insert, update and delete all the time, whatever happens to the schema."""

    def __init__(self, dsn: str, *own: type[Exception], connections: int = 2) -> None:
        self.table = "projects"
        self.writes = 0
        self.slowest_s = 0.0
        self.broken: list[str] = []
        """The errors, without those of the types `own`, which the change of the schema itself causes."""
        self._own = own
        self._dsn = dsn
        self._going, self._ended = threading.Event(), threading.Event()
        self._going.set()
        self._busy = [threading.Lock() for _ in range(connections)]
        self._threads = [
            threading.Thread(target=self._write, args=(connection,)) for connection in range(connections)
        ]

    def _write(self, connection: int) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            for number in count():
                self._going.wait()
                if self._ended.is_set():
                    return
                with self._busy[connection]:
                    for statement in (
                        "insert into {} (name) values (%(name)s)",
                        "update {} set description = %(name)s where name = %(name)s",
                        "update {} set name = name || '.' where name = %(name)s",
                        "delete from {} where name = %(old)s",
                    ):
                        self._execute(
                            conn, statement, f"{connection}-{number}", f"{connection}-{number - 20}."
                        )

    def _execute(self, conn: psycopg.Connection[Any], statement: LiteralString, name: str, old: str) -> None:
        query = pgsql.SQL(statement).format(pgsql.Identifier(*self.table.split(".")))
        started = time.perf_counter()
        try:
            conn.execute(query, {"name": name, "old": old})
        except psycopg.Error as exc:
            error = f"{type(exc).__name__}: {exc} {exc.diag.context}"
            if "omnicdc" in error or not isinstance(exc, self._own):
                self.broken.append(error)
        self.writes += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)
        time.sleep(0.003)  # leaves processor time for the daemon

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Stop all writes during the `with` block."""
        self._going.clear()
        for busy in self._busy:
            busy.acquire()
        try:
            yield
        finally:
            for busy in self._busy:
                busy.release()
            self._going.set()

    @property
    def told(self) -> str:
        """The result of the writes, as a text for the evidence."""
        return (
            f"{self.writes:,} writes of CMP meanwhile: none failed because of omnicdc, "
            f"the slowest took {self.slowest_s * 1000:.0f} ms"
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        self._going.set()
        for thread in self._threads:
            thread.join()


class ServedCmp:
    """A CMP, its registry host, and three login roles: daemon, client and writer."""

    def __init__(self, cmp: Cmp, host: Host, people: People) -> None:
        self.cmp, self.host = cmp, host
        self.table = "projects"
        self.role = people.add("omnicdc_daemon")
        self.writer = people.writer()
        self.writer_dsn = people.dsn(self.writer)
        self._client_dsn = people.dsn(people.add("omnicdc_client"))
        self._file = host.root.parent / "omnicdc.yaml"
        host.env |= {
            "OMNICDC_DSN": people.dsn(self.role),
            "OMNICDC_POLL_S": "0.2",
            # A broken capture misses deletes. When they are applied at once, the guard must not hold them.
            "OMNICDC_GUARD_SHARE": "1",
            "OMNICDC_CONFIG": str(self._file),
        }
        self._file.write_text("tables: {projects: projects}\n")

    def serve(self, **env: str) -> Daemon:
        """Fill CMP, and start the daemon."""
        self.cmp.fill(PROJECTS)
        self.daemon = self.host.daemon(**env)
        self.arrived()
        return self.daemon

    def execute(self, statement: str) -> None:
        """Execute SQL as the owner of CMP."""
        self.cmp.conn.execute(statement.replace("WRITER", self.writer).encode())

    def write(self, *statements: str) -> str:
        """Write in one transaction, with a role without rights on omnicdc; return the token."""
        with psycopg.connect(self.writer_dsn) as conn:
            for statement in statements:
                conn.execute(statement.encode())
            row = conn.execute("select pg_current_xact_id()::text").fetchone()
            assert row
            return str(row[0])

    def wait(self, token: str | None = None, timeout_s: float = DEADLINE_S) -> Verdict:
        with db.connect(self._client_dsn) as conn:
            return waits.wait(conn, token, timeout_s=timeout_s, stop=Stop(), grace_s=5.0)

    def arrived(self, token: str | None = None) -> Verdict:
        """Wait, and assert that the files hold the transaction."""
        verdict = self.wait(token)
        assert verdict.arrived, verdict
        return verdict

    def faults(self) -> list[str]:
        with db.connect(self._client_dsn) as conn:
            found: list[str] = status(conn)["faults"]
        return found

    def has_verdict(self, verdict: str, token: str) -> bool:
        """Return whether this is the verdict now."""
        return self.wait(token, timeout_s=0).status == verdict

    def names(self, cause: str) -> bool:
        """Return whether `omnicdc status` shows a fault with this text."""
        return any(cause in fault for fault in self.faults())

    def wait_until_healthy(self) -> None:
        """Wait until `omnicdc status` shows no fault."""
        until(lambda: not self.faults(), f"no faults are left: {self.faults()}")

    def fix(self) -> str:
        """Run the commands of the first fault that `omnicdc status` shows; wait until no fault is left.

        Return the text of the fault.
        """
        until(self.faults, "a fault is shown")
        [fault, *_] = self.faults()
        for command in re.findall("`([^`]+)`", fault):
            self._run_remedy(command)
        self.wait_until_healthy()
        return fault

    def wait_until_repaired(self) -> None:
        """Wait until no fault is left. If a fault names `omnicdc install`, run it.

        Faults of a lost session pass without a command.
        """
        until(
            lambda: not (faults := self.faults()) or INSTALL in faults[0],
            "no fault is left, or a command is named",
        )
        if any(INSTALL in fault for fault in self.faults()):
            self.fix()
        self.wait_until_healthy()

    def _run_remedy(self, command: str) -> None:
        words = shlex.split(command)
        if words[0] == "omnicdc":
            done = self.host.run(*words[1:], OMNICDC_DSN=self.cmp.dsn)
            assert done.returncode == 0, done.stderr
        elif words[0] == "tables:":
            self.table = words[2].rstrip("}")
            self._file.write_text(command + "\n")
        elif words[1:] == ["reload", "omnicdc"]:
            self.daemon.process.send_signal(signal.SIGHUP)
        else:
            self.execute(command)

    def holds(self) -> bool:
        """Return whether the canonical registry holds exactly what CMP holds now."""
        table = pgsql.Identifier(*self.table.split("."))
        rows = self.cmp.conn.execute(pgsql.SQL(SHOWN).format(table)).fetchall()
        found = self.host.canonical()
        keys = ("name", "type", "key", "github_url", "domain", "status")
        return {row[0]: row[1:] for row in rows} == {
            project: tuple(entry[key] for key in keys) for project, entry in found.items()
        }

    def assert_correct(self) -> None:
        """Assert that every file is what a full rebuild would write, byte for byte.

        First wait until everything that is committed is published.
        """
        assert_as_rebuilt(self.cmp, self.host, OMNICDC_TABLES=f"projects={self.table}")
