"""A CMP whose schema drifts under its writers, and a registry host.

The mends that `omnicdc status` names are obeyed word for word.
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
from omnicdc.delivery import wait as waits
from omnicdc.delivery.status import status
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
"""How many a served CMP holds at first."""

SHOWN: LiteralString = """
select id::text, name::text, type::text, key::text, metadata_ ->> 'github_url', metadata_ ->> 'domain',
       status::text
  from {}
"""


INSTALL = "`omnicdc install"


class Writers:
    """CMP's writers.

    Connections that insert, update and delete without a pause, whatever happens to the schema.
    """

    def __init__(self, dsn: str, *own: type[Exception], hands: int = 2) -> None:
        self.table = "projects"
        self.writes = 0
        self.slowest_s = 0.0
        self.broken: list[str] = []
        """What failed, but for errors of the kinds `own`, which the schema's change itself gives rise to."""
        self._own = own
        self._dsn = dsn
        self._going, self._ended = threading.Event(), threading.Event()
        self._going.set()
        self._busy = [threading.Lock() for _ in range(hands)]
        self._threads = [threading.Thread(target=self._write, args=(hand,)) for hand in range(hands)]

    def _write(self, hand: int) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as conn:
            for number in count():
                self._going.wait()
                if self._ended.is_set():
                    return
                with self._busy[hand]:
                    for statement in (
                        "insert into {} (name) values (%(name)s)",
                        "update {} set description = %(name)s where name = %(name)s",
                        "update {} set name = name || '.' where name = %(name)s",
                        "delete from {} where name = %(old)s",
                    ):
                        self._one(conn, statement, f"{hand}-{number}", f"{hand}-{number - 20}.")

    def _one(self, conn: psycopg.Connection[Any], statement: LiteralString, name: str, old: str) -> None:
        query = pgsql.SQL(statement).format(pgsql.Identifier(*self.table.split(".")))
        started = time.perf_counter()
        try:
            conn.execute(query, {"name": name, "old": old})
        except psycopg.Error as exc:
            told = f"{type(exc).__name__}: {exc} {exc.diag.context}"
            if "omnicdc" in told or not isinstance(exc, self._own):
                self.broken.append(told)
        self.writes += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)
        time.sleep(0.003)  # else they would have both processors

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let nobody write inside."""
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
        """What became of their writes, in words."""
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
    """A CMP, its registry host, and the three who log in: the daemon, who asks, who writes."""

    def __init__(self, cmp: Cmp, host: Host, people: People) -> None:
        self.cmp, self.host = cmp, host
        self.table = "projects"
        self.role = people.add("omnicdc_daemon")
        self.writer = people.writer()
        self.writer_dsn = people.dsn(self.writer)
        self._asker_dsn = people.dsn(people.add("omnicdc_client"))
        self._file = host.root.parent / "omnicdc.yaml"
        host.env |= {
            "OMNICDC_DSN": people.dsn(self.role),
            "OMNICDC_POLL_S": "0.2",
            # What a capture that sees no deletes lets pile up would soon be too much to lose at once.
            "OMNICDC_GUARD_SHARE": "1",
            "OMNICDC_CONFIG": str(self._file),
        }
        self._file.write_text("table: projects\n")

    def serve(self, **env: str) -> Daemon:
        """Fill CMP, and start the daemon."""
        self.cmp.fill(PROJECTS)
        self.daemon = self.host.daemon(**env)
        self.arrived()
        return self.daemon

    def execute(self, deed: str) -> None:
        """Do something as CMP's owner."""
        self.cmp.conn.execute(deed.replace("WRITER", self.writer).encode())

    def write(self, *statements: str) -> str:
        """Write in one transaction, as somebody without rights on omnicdc; returns the token."""
        with psycopg.connect(self.writer_dsn) as conn:
            for statement in statements:
                conn.execute(statement.encode())
            row = conn.execute("select pg_current_xact_id()::text").fetchone()
            assert row
            return str(row[0])

    def wait(self, token: str | None = None, timeout_s: float = DEADLINE_S) -> Verdict:
        with db.connect(self._asker_dsn) as conn:
            return waits.wait(conn, token, timeout_s=timeout_s, stop=Stop(), grace_s=5.0)

    def arrived(self, token: str | None = None) -> Verdict:
        """Wait, and insist that the files hold it, and everything else that CMP shows."""
        verdict = self.wait(token)
        assert verdict.arrived, verdict
        return verdict

    def faults(self) -> list[str]:
        with db.connect(self._asker_dsn) as conn:
            told: list[str] = status(conn)["faults"]
        return told

    def says(self, verdict: str, token: str) -> bool:
        """Whether this is the verdict now."""
        return self.wait(token, timeout_s=0).status == verdict

    def names(self, cause: str) -> bool:
        """Whether `omnicdc status` names a cause."""
        return any(cause in fault for fault in self.faults())

    def well(self) -> None:
        """Wait until `omnicdc status` finds nothing wrong."""
        until(lambda: not self.faults(), f"all is well: {self.faults()}")

    def fix(self) -> str:
        """Do what `omnicdc status` says, word for word, and wait until all is well; returns what it said."""
        until(self.faults, "something is wrong")
        [said, *_] = self.faults()
        for command in re.findall("`([^`]+)`", said):
            self._obey(command)
        self.well()
        return said

    def heals(self) -> None:
        """Wait until all is well; if `omnicdc install` is named on the way, run it.

        A session that was lost comes back.
        """
        until(lambda: not (told := self.faults()) or INSTALL in told[0], "well, or a command is named")
        if any(INSTALL in fault for fault in self.faults()):
            self.fix()
        self.well()

    def _obey(self, command: str) -> None:
        words = shlex.split(command)
        if words[0] == "omnicdc":
            done = self.host.run(*words[1:], OMNICDC_DSN=self.cmp.dsn)
            assert done.returncode == 0, done.stderr
        elif words[0] == "table:":
            self.table = words[1]
            self._file.write_text(command + "\n")
        elif words[1:] == ["reload", "omnicdc"]:
            self.daemon.process.send_signal(signal.SIGHUP)
        else:
            self.execute(command)

    def holds(self) -> bool:
        """Whether the canonical registry is what CMP shows now."""
        table = pgsql.Identifier(*self.table.split("."))
        rows = self.cmp.conn.execute(pgsql.SQL(SHOWN).format(table)).fetchall()
        found = self.host.canonical()
        keys = ("name", "type", "key", "github_url", "domain", "status")
        return {row[0]: row[1:] for row in rows} == {
            project: tuple(entry[key] for key in keys) for project, entry in found.items()
        }

    def assert_correct(self) -> None:
        """Insist that every file is what a full rebuild would write, byte for byte.

        All that is committed must have arrived.
        """
        assert_as_rebuilt(self.cmp, self.host, OMNICDC_TABLE=self.table)
