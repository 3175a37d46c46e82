"""Takes down what CMP committed, in its order, and holds the files against it.

At any moment, and once it is quiet.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import errors as pg

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.files.drift import stamp_of
from omnicdc.files.manifest import read_manifest
from omnicdc.inputs.parts import InputSettings
from omnicdc.inputs.read_only import read_only
from omnicdc.registries.projection import Projection
from omnicdc.registries.rows import select
from omnicdc.registries.scanners import scanners
from omnicdc.stop import Stop
from support.expected_content import ROWS, Surroundings, expected, read_back
from support.host import DEADLINE_S, PROJECT, REGISTRIES, until
from support.numbered_updates import leftovers

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from support.cmp import Cmp
    from support.expected_content import Parsed
    from support.host import Daemon, Host


@dataclass(frozen=True, slots=True)
class Moment:
    """What every registry must hold from a transaction on, until the next one."""

    token: int
    registries: dict[str, Parsed]


class CommitHistory:
    """What is known since the last quiet moment."""

    def __init__(self, cmp: Cmp, host: Host, counts: Counter[str], adopted: list[dict[str, Any]]) -> None:
        self._cmp, self._host, self._counts = cmp, host, counts
        self.around = Surroundings(adopted=adopted)
        self._forget()

    def _forget(self) -> None:
        self._ends: dict[str, bool] = {}
        """Transactions that have ended, and whether they were committed."""
        self._moments = [Moment(0, self._wanted())]
        self.touched: set[str] = set()
        """Files that another hand has been at."""
        self.unheard = False
        """Whether CMP may have changed without a trace in the log."""
        self.unread = False
        """Whether people or this host have something new to say."""

    def _wanted(self) -> dict[str, Parsed]:
        with self._cmp.conn.transaction():
            self._cmp.conn.execute("set local lock_timeout = '50ms'")
            rows = self._cmp.conn.execute(ROWS).fetchall()
        return expected(rows, self.around)

    def ended(self, token: str, *, committed: bool) -> None:
        """Take down how a transaction ended, and what the registries must hold since."""
        self._ends[token] = committed
        if committed and not self.unheard:
            try:
                wanted = self._wanted()
            except pg.LockNotAvailable:
                # Somebody has the table to himself: nobody else can have changed a row meanwhile.
                wanted = self._moments[-1].registries
            self._moments.append(Moment(int(token), wanted))

    def restarted(self, lost: list[str]) -> None:
        """Take down that the server was restarted, and which transactions were open.

        Forget what a crash may forget.

        One that changed nothing may have left no trace on the server's disk, even committed; the number of
        one that left none is given out again, to another.
        """
        next_one = int(self._cmp.value("select split_part(next_xid, ':', 2) from pg_control_checkpoint()"))
        changed = {
            str(then.token)
            for before, then in pairwise(self._moments)
            if then.registries != before.registries
        }
        ends = self._ends | dict.fromkeys(lost, False)
        self._ends = {
            token: committed
            for token, committed in ends.items()
            if (token in changed if committed else int(token) < next_one)
        }

    def look(self) -> None:
        """P2, P3: each file is whole, and shows CMP as it was at one moment.

        That moment is not before what is acknowledged.
        """
        self._counts["looks"] += 1
        told = self._cmp.conn.execute("select snapshot::text, held from omnicdc.consumer").fetchone()
        for name in {*REGISTRIES} - self.touched:
            found = read_back(name, self._host.raw(name))
            if told and not (self.unheard or (self.unread and name == PROJECT)):
                snapshot, held = told
                since = held[Path(name).name]["since"] if Path(name).name in held else snapshot
                sure = max(at for at, moment in enumerate(self._moments) if sees(since, moment.token))
                assert found in [moment.registries[name] for moment in self._moments[sure:]], (
                    f"{name} holds {found}, CMP had {self._moments[sure:]}"
                )

    def quiet(self, daemons: Callable[[], list[Daemon]], still_open: list[str]) -> None:
        """P1, P2, P5, P8: the files come right and are the whole truth.

        Every transaction gets its verdict.
        """
        until(lambda: _serves(daemons()), "a daemon serves")
        until(self._settled, "everything is published")
        if self.touched or self.unread:
            until(lambda: self._settled() and not self._wrong(), "mended by itself")
        assert not self._wrong(), self._wrong()
        until(self._held, "a daemon has the name")
        until(self._tidy, "the manifest is a file, and nothing unfinished is left")
        self._judge(still_open)
        self._counts["quiet"] += 1
        self._forget()

    def _settled(self) -> bool:
        """Whether all that was committed has arrived; what the guard holds is let through."""
        held = self._cmp.conn.execute("select held from omnicdc.consumer").fetchone()
        if held and any(one["guard"] for one in held[0].values()):
            self._counts["accepted"] += 1
            self._cmp.value("select omnicdc.request_accept()::text")
        return self._cmp.wait(timeout_s=1).arrived

    def _wrong(self) -> str:
        """Tell which file is not what it should be: by a full rebuild, and by rules of our own."""
        wanted = self._wanted()
        for name, fresh in self._rebuilt().items():
            path = self._host.root / name
            if path.is_symlink() or not path.is_file():
                return f"{name} is no file"
            data = path.read_bytes()
            if data != fresh:
                return f"{name} is not what a rebuild writes:\n{data.decode()}\n{fresh.decode()}"
            if read_back(name, data) != wanted[name]:
                return f"{name} holds {read_back(name, data)}, it should {wanted[name]}"
        return ""

    def _rebuilt(self) -> dict[str, bytes]:
        """Return what a full rebuild would write now, with the stamps of the files that are there."""
        config, content = self._host.config(), {}
        inputs = read_only(InputSettings.of(config))
        with db.connect(self._cmp.dsn) as conn:
            for scanner in scanners().values():
                registry, path = Projection(scanner, inputs), self._host.root / scanner.path
                registry.rebuild(select(conn, scanner, config.table, None))
                stamp = stamp_of(path.read_bytes()) if path.is_file() else ""
                content[scanner.path] = b"".join(registry.document.parts(registry.frame(stamp)))
        return content

    def _held(self) -> bool:
        """Whether a daemon has the consumer's name; it must not have acknowledged the future."""
        ahead = self._cmp.value(
            "select count(*) from omnicdc.consumer where pg_snapshot_xmax(snapshot) > "
            "pg_snapshot_xmax(pg_current_snapshot())"
        )
        assert ahead == 0
        return (
            self._cmp.value("select omnicdc.consumer_pid(%s)", self._host.env["OMNICDC_CONSUMER"]) is not None
        )

    def _tidy(self) -> bool:
        return bool(read_manifest(self._host.root)) and not leftovers([self._host.root, self._host.state])

    def _judge(self, still_open: list[str]) -> None:
        """P5: each transaction gets its verdict; the daemon may just be reloading."""
        good = {True: ("published", "nothing_to_do"), False: ("rolled_back",), None: ("timeout",)}
        self._counts["judged"] += len(self._ends)
        with db.connect(self._cmp.dsn) as conn:
            for token in [*self._ends, *still_open]:
                end = self._ends.get(token)
                verdict = waits.wait(
                    conn, token, timeout_s=0 if end is None else DEADLINE_S, grace_s=DEADLINE_S, stop=Stop()
                )
                assert verdict.status in good[end], verdict


def _serves(daemons: list[Daemon]) -> bool:
    assert daemons, "the daemon ended by itself"
    return any(event["event"] == "serving" for daemon in daemons for event in daemon.events)


def sees(snapshot: str | None, token: int) -> bool:
    """Whether a transaction is visible in a snapshot; the first moment always is."""
    least, beyond, running = (snapshot or "1:1:").split(":")
    return token < int(least) or (token < int(beyond) and str(token) not in running.split(","))
