"""Records what CMP committed, in order, and compares the files with it.

`look` compares at any moment. `quiet` compares when everything must be published.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import errors as pg

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.files.manifest import read_manifest
from omnicdc.inputs.parts import InputSettings
from omnicdc.inputs.read_only import read_only
from omnicdc.registries.catalog import registries
from omnicdc.registries.projection import Projection
from omnicdc.registries.rows import select
from omnicdc.registries.tables import find_tables
from omnicdc.stop import Stop
from support.agents import REGISTRY as AGENTS
from support.agents import STAFF, TEAMS
from support.expected_content import AGENT_ROWS, ROWS, Surroundings, expected, read_back
from support.host import DEADLINE_S, PROJECT, REGISTRIES, until
from support.numbered_updates import leftovers

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from support.cmp import Cmp
    from support.expected_content import Parsed
    from support.host import Daemon, Host


MODELLED = (*REGISTRIES, AGENTS, TEAMS, STAFF)
"""The registries that the model compares."""

HELD_S = 20.0
"""After so long an operator asks for a rebuild of a held registry: the pause before the next attempt is a
multiple of what the last one took, on a slow machine minutes."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What every registry must hold from a transaction on, until the next one."""

    token: int
    registries: dict[str, Parsed]


class CommitHistory:
    """The commits since the last call of `quiet`, and what may differ from them."""

    def __init__(self, cmp: Cmp, host: Host, counts: Counter[str], adopted: list[dict[str, Any]]) -> None:
        self._cmp, self._host, self._counts = cmp, host, counts
        self.around = Surroundings(adopted=adopted)
        self._reset()

    def _reset(self) -> None:
        self._ends: dict[str, bool] = {}
        """Each transaction that has ended: whether it was committed."""
        self._moments = [Moment(0, self._expected_now())]
        self.externally_changed: set[str] = set()
        """Files with an external change."""
        self.capture_missed = False
        """Whether CMP may have changed without a row in the log."""
        self.inputs_changed = False
        """Whether people's files or clones have changed since they were read."""

    def _expected_now(self) -> dict[str, Parsed]:
        with self._cmp.conn.transaction():
            self._cmp.conn.execute("set local lock_timeout = '50ms'")
            rows = self._cmp.conn.execute(ROWS).fetchall()
            agents = self._cmp.conn.execute(AGENT_ROWS).fetchall()
        return expected(rows, agents, self.around)

    def ended(self, token: str, *, committed: bool) -> None:
        """Record how a transaction ended, and what the registries must hold from after on."""
        self._ends[token] = committed
        if committed and not self.capture_missed:
            try:
                now_expected = self._expected_now()
            except pg.LockNotAvailable:
                # Another session holds an exclusive lock on the table, so no row can have changed meanwhile.
                now_expected = self._moments[-1].registries
            self._moments.append(Moment(int(token), now_expected))

    def restarted(self, lost: list[str]) -> None:
        """Record a restart of the server; the transactions `lost` were open.

        Forget the transactions that a crash may lose. A transaction that changed nothing may have left no
        trace on disk, even if it was committed. Then the server uses its number again.
        """
        next_one = int(self._cmp.value("select split_part(next_xid, ':', 2) from pg_control_checkpoint()"))
        changed = {
            str(after.token)
            for before, after in pairwise(self._moments)
            if after.registries != before.registries
        }
        ends = self._ends | dict.fromkeys(lost, False)
        self._ends = {
            token: committed
            for token, committed in ends.items()
            if (token in changed if committed else int(token) < next_one)
        }

    def look(self) -> None:
        """P2, P3: each file is complete and shows CMP at one moment, not before the acknowledged snapshot."""
        self._counts["looks"] += 1
        acknowledged = self._cmp.conn.execute(
            "select snapshot::text, held, postponed from omnicdc.consumer"
        ).fetchone()
        for name in {*MODELLED} - self.externally_changed:
            found = read_back(name, self._host.raw(name))
            if acknowledged and not (self.capture_missed or (self.inputs_changed and name == PROJECT)):
                snapshot, held, postponed = acknowledged
                since = postponed.get(Path(name).name, snapshot)
                since = held[Path(name).name]["since"] if Path(name).name in held else since
                sure = max(at for at, moment in enumerate(self._moments) if sees(since, moment.token))
                assert found in [moment.registries[name] for moment in self._moments[sure:]], (
                    f"{name} holds {found}, CMP had {self._moments[sure:]}"
                )

    def quiet(self, daemons: Callable[[], list[Daemon]], still_open: list[str]) -> None:
        """P1, P2, P5, P8: the files become correct and complete, and every transaction gets its verdict."""
        until(lambda: _serves(daemons()), "a daemon serves")
        self._ask_at = time.monotonic() + HELD_S
        try:
            until(self._settled, "everything is published")
        except AssertionError as exc:
            events = [event for daemon in daemons() for event in daemon.events[-5:]]
            raise AssertionError(f"{exc}: {self._cmp.wait(timeout_s=1)} {events}") from exc
        if self.externally_changed or self.inputs_changed:
            until(lambda: self._settled() and not self._wrong(), "files are repaired automatically")
        assert not self._wrong(), self._wrong()
        until(self._name_is_held, "a daemon holds the name of the consumer")
        until(self._is_tidy, "the manifest can be read, and no temporary file is left")
        self._assert_verdicts(still_open)
        self._counts["quiet"] += 1
        self._reset()

    def _settled(self) -> bool:
        """Accept what the guard holds; return whether every commit is published."""
        held = self._cmp.conn.execute("select held from omnicdc.consumer").fetchone()
        if held and any(one["guard"] for one in held[0].values()):
            self._counts["accepted"] += 1
            self._cmp.value("select omnicdc.request_accept()::text")
        verdict = self._cmp.wait(timeout_s=1)
        if verdict.status == "held" and time.monotonic() > self._ask_at:
            self._ask_at = time.monotonic() + HELD_S
            self._cmp.value("select omnicdc.request_rebuild()::text")
        return verdict.arrived

    def _wrong(self) -> str:
        """Describe the first wrong file, or return "". Compares with a full rebuild and with `expected`."""
        now_expected = self._expected_now()
        for name, fresh in self._rebuilt().items():
            path = self._host.root / name
            if path.is_symlink() or not path.is_file():
                return f"{name} is not a regular file"
            data = path.read_bytes()
            if data != fresh:
                return f"{name} is not what a rebuild writes:\n{data.decode()}\n{fresh.decode()}"
            if read_back(name, data) != now_expected[name]:
                return f"{name} holds {read_back(name, data)}, expected {now_expected[name]}"
        return ""

    def _rebuilt(self) -> dict[str, bytes]:
        """Return what a full rebuild would write now, with the time stamps of the present files."""
        config, content = self._host.config(), {}
        inputs = read_only(InputSettings.of(config))
        with db.connect(self._cmp.dsn) as conn:
            scanners = registries(config)
            tables = find_tables(conn, config, scanners.values())
            for scanner in scanners.values():
                registry, path = Projection(scanner, inputs), self._host.root / scanner.path
                registry.rebuild(select(conn, scanner, tables, None))
                stamp = scanner.layout.stamp(path.read_bytes()[:400]) if path.is_file() else ""
                content[scanner.path] = b"".join(registry.document.parts(registry.frame(stamp)))
        return content

    def _name_is_held(self) -> bool:
        """Return whether a daemon holds the consumer's name. No acknowledgement may be in the future."""
        ahead = self._cmp.value(
            "select count(*) from omnicdc.consumer where pg_snapshot_xmax(snapshot) > "
            "pg_snapshot_xmax(pg_current_snapshot())"
        )
        assert ahead == 0
        return (
            self._cmp.value("select omnicdc.consumer_pid(%s)", self._host.env["OMNICDC_CONSUMER"]) is not None
        )

    def _is_tidy(self) -> bool:
        return bool(read_manifest(self._host.root)) and not leftovers([self._host.root, self._host.state])

    def _assert_verdicts(self, still_open: list[str]) -> None:
        """P5: each transaction gets its verdict. The grace period is for a daemon that is reloading."""
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
    assert daemons, "the daemon ended without a signal"
    return any(event["event"] == "serving" for daemon in daemons for event in daemon.events)


def sees(snapshot: str | None, token: int) -> bool:
    """Return whether a transaction is visible in a snapshot. The first moment, token 0, always is."""
    least, beyond, running = (snapshot or "1:1:").split(":")
    return token < int(least) or (token < int(beyond) and str(token) not in running.split(","))
