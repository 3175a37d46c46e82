"""Registry hosts whose daemons are killed, and the programs that write and read meanwhile."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias

from support.agents import AGENTS, MODELLED, declare
from support.host import CANONICAL, DEADLINE_S, Daemon, Host, until
from support.ledger import FOLLOWED, Ledgers
from support.load import Load
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import LiteralString

    from support.cmp import Cmp
    from support.evidence import Scale
    from support.load import Found


class KilledHost:
    """A registry host whose daemons are killed, and what the killed daemons left."""

    def __init__(self, where: Path, cmp: Cmp, load: Load, seed: str) -> None:
        self.host = Host(where, cmp.dsn)
        where.mkdir(parents=True, exist_ok=True)
        self.host.env |= declare(where, MODELLED)
        self.dice = random.Random(f"{seed} {where.name}")
        self.daemon: Daemon | None = None
        """The daemon that serves and is not killed, if there is one."""
        self.current_kill: Kill | None = None
        self.leftovers: Counter[tuple[Kill | None, str]] = Counter()
        """How often each kind of kill left something unfinished."""
        self.longest_takeover_s = 0.0
        self._cmp, self._crowd, self._seed, self._ledgers = cmp, load, seed, Ledgers(seed)

    def new_host(self) -> KilledHost:
        """Return another host, on which nothing was ever published."""
        where = self.host.root.parent
        other = KilledHost(
            where.with_name(f"{where.name}-{time.monotonic_ns()}"), self._cmp, self._crowd, self._seed
        )
        other.current_kill, other.leftovers = self.current_kill, self.leftovers
        return other

    def transactions_shown(self) -> dict[str, list[int]]:
        """Return each writer's last transaction that a file shows, for each file.

        Fails if a file shows a part of a transaction, or an older one than before.
        """
        files = {name: self.host.root / name for name in FOLLOWED}
        return self._ledgers.look({name: path.read_bytes() for name, path in files.items() if path.exists()})

    def check_files(self) -> None:
        """Claim that the files are whole, and that none is older than what was acknowledged.

        The acknowledgement is read first: a stand-by may publish meanwhile, and files only get newer.
        """
        found = self._ask("select to_json(c) from omnicdc.consumer c where name = %s") or {}
        shown, postponed = self.transactions_shown(), found.get("postponed", {})
        for name, numbers in shown.items():
            # What a postponed registry shows is said apart.
            snapshot = postponed.get(name.rpartition("/")[2], found.get("snapshot"))
            acknowledged = self._crowd.visible_in(snapshot or "1:1:")
            assert all(map(int.__le__, acknowledged, numbers)), (
                f"{name}: acknowledged {acknowledged}, in the file {numbers}"
            )
            if name == CANONICAL:
                self.leftovers[self.current_kill, "not acknowledged"] += acknowledged != numbers
        self.leftovers[self.current_kill, "unfinished"] += any(self.host.root.rglob("*.omnicdc-tmp"))

    def check_after_kill(self, daemon: Daemon) -> None:
        """Check what a killed daemon left, once the server has done all that the daemon sent."""
        assert daemon.process.wait(DEADLINE_S) == -signal.SIGKILL, daemon.noise
        until(lambda: not self._ask("select omnicdc.is_alive(%s)"), "the daemon's backend has ended")
        self.check_files()
        daemon.close()
        assert not [event for event in daemon.events if event["event"] == "drift_found"], (
            "omnicdc's own write was reported as an external change"
        )

    def _ask(self, query: LiteralString) -> Any:  # noqa: ANN401 - whatever the query returns
        with closing(self._cmp.connect()) as conn:
            row = conn.execute(query, [self.host.env["OMNICDC_CONSUMER"]]).fetchone()
        return row and row[0]


Moment: TypeAlias = tuple[str, bool]
"""A point of a cycle, and whether it is met in a start's cycle or in a later one.

Every kill gets a moment. Only `at_a_point` uses it.
"""

Kill: TypeAlias = Callable[[KilledHost, Moment], None]


class Scenario:
    """Registry hosts with one CMP, its writers, and the readers of the files."""

    def __init__(
        self,
        cmp: Cmp,
        where: Path,
        dice: random.Random,
        *,
        hosts: int,
        scale: Scale,
        through: bool = False,
    ) -> None:
        seed = f"{dice.random()}"
        roots = [where / f"host{number}" / "root" for number in range(hosts)]
        cmp.fill(30)
        self.load = Load(
            cmp.dsn, seed, roots, readers=scale(1, 2), rest_s=scale(5, 0) / 1000, through=through
        )
        self.targets = [KilledHost(root.parent, cmp, self.load, seed) for root in roots]
        self.cmp = cmp
        cmp.conn.execute(AGENTS)
        self.targets[0].host.ask("install")
        self.load.start()

    def run_side_by_side(self, actions: Sequence[Callable[[KilledHost], None]]) -> None:
        """Run all actions. Each host runs its share, at the same time as the others."""
        over = threading.Event()

        def run_share(number: int) -> None:
            for action in actions[number :: len(self.targets)]:
                if over.is_set():
                    return
                action(self.targets[number])

        with ThreadPoolExecutor() as threads:
            shares = [threads.submit(run_share, number) for number in range(len(self.targets))]
            try:
                for share in as_completed(shares):
                    share.result()
            finally:
                over.set()  # a failure, or the test's time-out, ends the other hosts as well

    def finish(self) -> Found:
        """End the writes, and claim that the next start converges.

        No transaction is lost, and no reader found anything wrong.
        """
        written = self.load.rest()
        with closing(self.cmp.connect()) as conn:
            self.cmp.upsert("the last", github_url="https://github.com/acme/last", conn=conn)
        daemons = [target.daemon or target.host.starting() for target in self.targets]
        for daemon in daemons:
            daemon.wait_for("serving")
        self.cmp.arrived()
        found = self.load.end()
        for target, daemon in zip(self.targets, daemons, strict=True):
            target.check_files()
            configuration = target.host.env["OMNICDC_CONFIG"]
            assert_as_rebuilt(self.cmp, target.host, OMNICDC_CONFIG=configuration)
            assert daemon.stop() == 0
            assert target.transactions_shown() == dict.fromkeys(FOLLOWED, written)
            assert not [*target.host.root.rglob("*.omnicdc-tmp")]

        assert found.wrong == []
        return found

    def close(self) -> None:
        """End all processes."""
        self.load.close()
        for target in self.targets:
            target.host.close()
