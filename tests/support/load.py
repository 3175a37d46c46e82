"""A load: eight connections that write CMP, and programs that parse every registry, until a test ends them.

`support.ledger` defines what is written and what may be read. As a program, this file is a reader: its
arguments are SEED SECONDS ROOT..., and it pauses for SECONDS between two rounds.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import yaml

from support.cmp import UPSERT, undo
from support.ledger import FOLLOWED, WRITERS, Ledger, Project, agent_id, planned_write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import LiteralString

    Connection = psycopg.Connection[tuple[Any, ...]]

PAUSE_S = 0.06
"""The longest pause of a writer between two transactions. It leaves processor time for the faults."""

LOCK_TIMEOUT = "1s"
"""A write that waits longer for a lock fails, and so does the test."""

SWITCH_S = 0.0005
"""The switch interval of threads. With the default of 5 ms, ten threads would delay one another."""

AGENT: LiteralString = """
insert into agents (id, name, project_id) values (%s, %s, %s)
on conflict (id) do update set name = excluded.name
"""
WRITE: LiteralString = UPSERT + ", pg_current_xact_id()::text"
ROLLED_BACK = {
    "name": "rolled back",
    "key": "rolled back",
    "type": "rolled back",
    "status": "-1",
    "metadata": "{}",
}


class Writer(threading.Thread):
    """One connection that writes. With `through`, it connects again when the server was stopped."""

    def __init__(self, dsn: str, seed: str, writer: int, *, through: bool) -> None:
        super().__init__(daemon=True)
        self.confirmed = 0
        """The last transaction that CMP confirmed, or that was found in CMP after a lost connection."""
        self.tokens: list[tuple[int, int]] = []
        """The id and the number of each transaction that CMP confirmed."""
        self.failure: Exception | None = None
        self.longest_s = 0.0
        self.lost = self.doubtful = 0
        """How often the connection was lost, and how often the transaction in doubt was committed."""
        self._dsn, self._seed, self._writer, self._through = dsn, seed, writer, through
        self._pace = random.Random(f"{seed} {writer}")
        self._number = 1
        self._end = threading.Event()

    def end(self) -> None:
        """Finish the transaction and close. Raise the error of the thread, if there was one."""
        self._end.set()
        self.join()
        if self.failure:
            raise self.failure

    def run(self) -> None:
        """Write until `end` is called."""
        try:
            while not self._end.is_set():
                self._session()
        except Exception as exc:  # noqa: BLE001 - `end` raises it
            self.failure = exc

    def _session(self) -> None:
        try:
            conn = psycopg.connect(self._dsn, autocommit=True)
        except psycopg.OperationalError:
            if not self._through:
                raise
            self._end.wait(0.01)
            return
        try:
            with closing(conn):
                conn.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
                self._resolve_doubt(conn)
                while not self._end.wait(self._pace.random() * PAUSE_S):
                    self._write(conn)
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.Rollback):
            if not (self._through and conn.closed):
                raise
            self.lost += 1

    def _resolve_doubt(self, conn: Connection) -> None:
        """Find out whether the transaction in doubt was committed. Confirmed ones must be there."""
        first = Project(self._writer, 0, 0).id
        row = conn.execute("select status::int from projects where id = %s", [first]).fetchone()
        found = row[0] if row else 0
        assert found in (self.confirmed, self._number), f"confirmed {self.confirmed}, the server has {found}"
        if found == self._number:
            self.confirmed = found
            self.doubtful += 1
            self._number += 1

    def _write(self, conn: Connection) -> None:
        done, started = planned_write(self._seed, self._writer, self._number), time.perf_counter()
        token = self._upsert(conn, 0) if done.single else self._transaction(conn)
        self.longest_s = max(self.longest_s, time.perf_counter() - started)
        if not done.undone:
            self.tokens.append((int(token), self._number))
            self.confirmed = self._number
        self._number += 1

    def _transaction(self, conn: Connection) -> str:
        done, token = planned_write(self._seed, self._writer, self._number), ""
        with conn.transaction():
            if done.rolled_back:
                with conn.transaction():
                    for row in done.rolled_back:
                        conn.execute(UPSERT, {"id": Project(self._writer, row, 0).id, **ROLLED_BACK})
                    undo()
            for row in done.written:
                token = self._upsert(conn, row)
            deleted = [Project(self._writer, row, 0).id for row in done.deleted]
            conn.execute("delete from projects where id = any(%s::uuid[])", [deleted])
            first = Project(self._writer, 0, 0).id
            conn.execute(AGENT, [agent_id(self._writer), f"a{self._number}", first])
            if done.undone:
                undo()
        return token

    def _upsert(self, conn: Connection, row: int) -> str:
        """Write a project as of this transaction; return the token."""
        project = Project(self._writer, row, self._number)
        columns = project.columns
        metadata = json.dumps({key: columns.pop(key) for key in ("github_url", "domain")})
        found = conn.execute(WRITE, {"id": project.id, **columns, "metadata": metadata}).fetchone()
        assert found
        return str(found[1])


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a load."""

    transactions: int
    longest_s: float
    lost: int
    doubtful: int
    reads: int
    wrong: list[str]


class Load:
    """Eight writers and some readers, from `start` to `end` or `close`."""

    def __init__(
        self,
        dsn: str,
        seed: str,
        roots: Sequence[Path],
        *,
        readers: int,
        rest_s: float = 0.0,
        through: bool = False,
    ) -> None:
        self._count = readers
        self._writers = [Writer(dsn, seed, writer, through=through) for writer in range(WRITERS)]
        self._reading = [sys.executable, __file__, seed, str(rest_s), *map(str, roots)]
        self._readers: list[subprocess.Popen[str]] = []
        self._switch_s = sys.getswitchinterval()

    def start(self) -> None:
        """Start the readers and the writers."""
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        pipe = subprocess.PIPE
        self._readers = [
            subprocess.Popen(self._reading, env=env, stdin=pipe, stdout=pipe, text=True)
            for _ in range(self._count)
        ]
        sys.setswitchinterval(SWITCH_S)
        for writer in self._writers:
            writer.start()

    def close(self) -> None:
        """End all readers and writers that still run."""
        sys.setswitchinterval(self._switch_s)
        for reader in self._readers:
            reader.kill()
            reader.communicate()
        with suppress(Exception):  # `rest` has raised it before
            self.rest()

    @property
    def confirmed(self) -> list[int]:
        """The last confirmed transaction of each writer."""
        return [writer.confirmed for writer in self._writers]

    def rest(self) -> list[int]:
        """End the writers; return their last transactions."""
        for writer in self._writers:
            writer.end()
        return self.confirmed

    def visible_in(self, snapshot: str) -> list[int]:
        """Return the last transaction of each writer that is visible in a snapshot."""
        xmin, xmax, running = snapshot.split(":")
        horizon, beyond, open_ = int(xmin), int(xmax), {int(it) for it in running.split(",") if it}

        def seen(token: int) -> bool:
            return token < horizon or (token < beyond and token not in open_)

        return [
            next((number for token, number in reversed([*writer.tokens]) if seen(token)), 0)
            for writer in self._writers
        ]

    def end(self) -> Found:
        """End writers and readers; return the result."""
        self.rest()
        results = [json.loads(reader.communicate()[0]) for reader in self._readers]
        self._readers = []
        return Found(
            transactions=sum(len(writer.tokens) for writer in self._writers),
            longest_s=max(writer.longest_s for writer in self._writers),
            lost=sum(writer.lost for writer in self._writers),
            doubtful=sum(writer.doubtful for writer in self._writers),
            reads=sum(it["reads"] for it in results),
            wrong=[wrong for it in results for wrong in it["wrong"]],
        )


def read(seed: str, rest_s: float, roots: Sequence[Path]) -> None:
    """Parse every registry of every root again and again, until stdin ends.

    Print how often, and what was wrong.
    """
    # Readers are tools of users, which get less processor time than the daemon.
    os.nice(5)
    ledgers = {root / name: Ledger(seed, name) for root in roots for name in FOLLOWED}
    seen: set[Path] = set()
    reads, wrong = 0, []
    while not select.select([sys.stdin], [], [], 0)[0]:
        for path, ledger in ledgers.items():
            if path not in seen and not path.exists():
                continue  # before the first publication; after it, the file always exists
            seen.add(path)
            reads += 1
            try:
                ledger.look(path.read_bytes())
            except (AssertionError, LookupError, TypeError, ValueError, OSError, yaml.YAMLError) as exc:
                wrong.append(f"{path}: {type(exc).__name__}: {exc}")
        time.sleep(rest_s)
    json.dump({"reads": reads, "wrong": wrong[:5]}, sys.stdout)


if __name__ == "__main__":
    read(sys.argv[1], float(sys.argv[2]), [Path(root) for root in sys.argv[3:]])
