"""P1, P2, P8: whatever several writers do at once, once it is quiet the files equal a full rebuild.

OMNICDC_TEST_STEPS and OMNICDC_TEST_ROUNDS make it longer, OMNICDC_TEST_SEED repeats a run's dice.
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors as pg
from support.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.cmp import Cmp

STEPS = int(os.environ.get("OMNICDC_TEST_STEPS", "250"))
ROUNDS = int(os.environ.get("OMNICDC_TEST_ROUNDS", "3"))
WRITERS = 5

TEXTS = [
    "a", "B", "ä", "", " ", "no", "null", "~", "012", "1e3", "12:30", "2024-01-01", "- x", "a: b", "#c", "'", '"', "\\",
    "tab\t", "two\nlines", "\r", "\u0085", "\u2028", "\ufeff", "\x1b", "😀", "long " * 50, "{", "snapshot", "SNAPSHOT",
]  # fmt: skip
URLS = [
    None, "", "https://github.com/acme/a", "https://github.com/acme/a.git", "git@github.com:Acme/A.git",
    "https://github.com/acme/b", "http://www.github.com/acme/b/", "https://gitlab.com/acme/a", "not a url", "https://github.com/acme",
]  # fmt: skip


class Writer:
    """One connection; each step does one thing in whatever transaction and savepoint is open."""

    def __init__(self, cmp: Cmp, dice: random.Random) -> None:
        self._cmp = cmp
        self._dice = dice
        self._conn = cmp.connect()
        self._savepoints = 0
        # Who meets another's lock gives up, and goes on elsewhere: all writers share one thread.
        self._conn.execute("set lock_timeout = '5ms'")
        level = dice.choice(["read committed", "repeatable read", "serializable"])
        self._conn.execute(f"set default_transaction_isolation = '{level}'")

    def step(self) -> None:
        """Do one thing; a conflict with another writer undoes something, as it would for Genesis."""
        deeds: list[tuple[int, Callable[[], object]]] = [
            (8, self._upsert), (6, self._update), (3, self._delete), (2, self._rename_id), (2, self._update_many),
            (3, self._begin), (3, self._end), (2, self._savepoint), (2, self._roll_back_to),
        ]  # fmt: skip
        if self._dice.random() < 0.01:
            deeds = [(1, lambda: self._run("truncate projects"))]
        deed = self._dice.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])[0]
        try:
            deed()
        except (pg.OperationalError, pg.IntegrityError):
            self._give_up()

    def end(self) -> None:
        """Commit what is open and close."""
        with suppress(pg.OperationalError):
            self._run("commit")
        self._conn.close()

    def _run(self, statement: str, *params: object) -> None:
        self._conn.execute(statement, params or None)

    @property
    def _open(self) -> bool:
        return self._conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def _give_up(self) -> None:
        if self._savepoints and self._dice.random() < 0.5:
            self._run(f"rollback to savepoint s{self._savepoints}")
        elif self._open:
            self._run("rollback")
            self._savepoints = 0

    def _begin(self) -> None:
        if not self._open:
            self._run("begin")

    def _end(self) -> None:
        if self._open:
            self._savepoints = 0
            self._run(self._dice.choice(["commit", "commit", "rollback"]))

    def _savepoint(self) -> None:
        if self._open:
            self._run(f"savepoint s{self._savepoints + 1}")
            self._savepoints += 1

    def _roll_back_to(self) -> None:
        if self._savepoints:
            self._run(f"rollback to savepoint s{self._savepoints}")

    def _text(self) -> str | None:
        return self._dice.choice([*TEXTS, None])

    def _metadata(self) -> dict[str, object]:
        found: dict[str, Any] = {
            "github_url": self._dice.choice(URLS),
            "domain": self._dice.choice([7, {"x": 1}, *TEXTS]),
        }
        return {key: value for key, value in found.items() if self._dice.random() < 0.8}

    def _some(self) -> str:
        """Return an id out of a few, so that writers meet."""
        return f"00000000-0000-0000-0000-{self._dice.randrange(60):012}"

    def _upsert(self) -> None:
        self._cmp.upsert(
            f"{self._dice.choice(TEXTS)}{self._dice.randrange(3)}", id=self._some(), key=self._text(),
            type=self._text(), status=self._text(), conn=self._conn, **self._metadata(),
        )  # fmt: skip

    def _update(self) -> None:
        column = self._dice.choice(["name", "key", "type", "status", "description"])
        value = self._text() or ""
        self._run(
            f"update projects set {column} = %s, updated_at = clock_timestamp() where id = %s",
            value,
            self._some(),
        )

    def _update_many(self) -> None:
        self._run(
            """update projects set metadata_ = metadata_ || jsonb_build_object('github_url', %s::text), status = %s
                where id >= %s and id < %s""",
            self._dice.choice(URLS), self._text(), *sorted([self._some(), self._some()]),
        )  # fmt: skip

    def _rename_id(self) -> None:
        self._run("update projects set id = %s where id = %s", self._some(), self._some())

    def _delete(self) -> None:
        self._run("delete from projects where id = %s", self._some())


@pytest.mark.parametrize("wake", ["notify", "poll"])
def test_whatever_writers_do_the_files_end_up_as_a_full_rebuild(
    cmp: Cmp, host: Host, tmp_path: Path, wake: str
) -> None:
    """P1, P2, P8: several connections, interleaved; in the last round the daemon is killed in the middle."""
    seed = int(os.environ.get("OMNICDC_TEST_SEED", random.randrange(10**9)))
    sys.stdout.write(f"OMNICDC_TEST_SEED={seed}\n")
    dice = random.Random(seed)
    env = {
        "OMNICDC_GUARD_SHARE": "1",
        "OMNICDC_WAKE": wake,
        "OMNICDC_POLL_S": "0.05" if wake == "poll" else "5",
    }
    daemon = host.daemon(**env)
    fresh = Host(tmp_path / "fresh", cmp.dsn)
    fresh.env["OMNICDC_GUARD_SHARE"] = "1"

    for number in range(ROUNDS):
        writers = [Writer(cmp, dice) for _ in range(WRITERS)]
        for step in range(STEPS):
            dice.choice(writers).step()
            if number == ROUNDS - 1 and step == STEPS // 2:
                daemon.kill()
                # The server knows of the first one's end only when a writer that blocked it has ended.
                daemon = host.starting("--standby", **env)
        for writer in writers:
            writer.end()
        daemon.wait_for("serving")
        cmp.arrived()
        fresh.once()
        assert host.content() == fresh.content(), f"OMNICDC_TEST_SEED={seed}, round {number}"
        assert len(host.canonical()) == len(host.projects()) == cmp.value("select count(*) from projects")
