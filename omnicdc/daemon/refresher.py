"""Keeps the inputs fresh in the background, and knows whether everything asked for has been looked at.

Clones, the heart and GitHub are slow, and a mount may hang for ever: so each workspace root has threads of
its own, and the daemon's own thread never touches a workspace. `inputs.store` reads and remembers; this
module has it done in time.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.daemon.worker import Worker
from omnicdc.inputs.parts import InputSettings
from omnicdc.inputs.store import InputStore
from omnicdc.state import MAX_LISTED
from omnicdc.stop import SLICE_S, Stop

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    from omnicdc.config.settings import Config
    from omnicdc.inputs.watches import Watches
    from omnicdc.model import Inputs
    from omnicdc.state import State

log = structlog.get_logger()

WATCH_SLICE_S = 1.0
"""How long the thread that watches may outlast its use."""

GATHER_S = 0.05
"""How long what happens to a clone may go on before it is looked at: git makes one step by step."""


class Refresher:
    """The inputs of one daemon, kept fresh.

    A context manager: loads what the last run knew, looks, and stops. Without `watches` a workspace is looked
    at only when asked for, or by the clock: one run needs no more.
    """

    def __init__(self, config: Config, stop: Stop, watches: Watches | None, timing: Timing = USUAL) -> None:
        settings = InputSettings.of(config)
        self._timing = timing
        self._store = InputStore(settings)
        self._stop = stop
        self._end = Stop()
        self._bell = threading.Condition()
        self._watches = watches
        self._watch_faults: dict[int, str] = {}
        self._owners: frozenset[str] = frozenset()
        self._asked_owners: frozenset[str] = frozenset()
        self._all_owners_due = True
        self._said: tuple[str, ...] = ()
        self._noticed: frozenset[str] = frozenset()
        self._keys: frozenset[str] = frozenset()
        self._unmatched: tuple[str, ...] = ()
        self._matches = Worker("matches", self._match, lambda: None, self._bell)
        self._taken: object = None
        self._looks = [self._look_worker(number) for number in range(len(settings.roots))]
        self._walks = [self._walk_worker(number, config.refresh_s) for number in range(len(settings.roots))]
        self._github = Worker("GitHub", self._ask_github, lambda: config.refresh_s, self._bell)
        self._roots, self._configured_owners = settings.roots, settings.github_owners

    def __enter__(self) -> Self:
        """Load what was known, and have everything looked at; waits a moment for it, and no longer."""
        self._store.load()
        first = not self._store.primed
        for worker in self._workers:
            worker.start()
        if self._watches:
            threading.Thread(target=self._watch, args=[self._watches], name="watches", daemon=True).start()
        for worker in (*self._looks, *self._walks):
            worker.ask()
        if self._configured_owners and self._store.asks_github:
            self._github.ask()
        wait_s = self._timing.first_start_wait_s if first else self._timing.start_wait_s
        self._wait_for([*self._looks, *self._walks], wait_s)
        self._say_faults()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Ask the threads to end; one that hangs goes on, and does no harm."""
        self._end()
        for worker in self._workers:
            worker.end()

    @property
    def current(self) -> Inputs:
        """The inputs as last read."""
        return self._store.current

    @property
    def looking(self) -> tuple[str, ...]:
        """What was asked for and is not done yet: `workspaces`, `GitHub`."""
        workspaces = any(worker.pending for worker in (*self._looks, *self._walks))
        return (("workspaces",) if workspaces else ()) + (("GitHub",) if self._github.pending else ())

    @property
    def has_news(self) -> bool:
        """Whether something is known that was not taken yet."""
        return self._taken != self._news()

    @property
    def faults(self) -> tuple[str, ...]:
        """What a person should fix, as of now."""
        hung_s, walking_s = self._timing.hung_s, self._timing.walking_s
        slow = [
            f"{root}: no answer for {hung_s:.0f} s, as of a mount that hangs; its clones stay as they were "
            f"known"
            if look.busy_s > hung_s
            else f"{root}: walking it takes more than {walking_s:.0f} s; look for a mount that hangs below it"
            for root, look, walk in zip(self._roots, self._looks, self._walks, strict=True)
            if look.busy_s > hung_s or walk.busy_s > walking_s
        ]
        return (*self._store.faults, *filter(None, self._watch_faults.values()), *slow)

    @property
    def notices(self) -> tuple[str, ...]:
        """What is perhaps a slip of the pen, or changes nothing."""
        return (*sorted(self._store.harmless), *self._store.notices, *self._unmatched)

    def take(self, state: State) -> None:
        """Give the session what is known now."""
        # What is still looked for is read before the inputs: what was found before that is in them.
        news = self._news()
        harmless = self._store.harmless
        state.looking, state.input_notices = self.looking, self.notices
        state.input_faults = tuple(fault for fault in self.faults if fault not in harmless)
        if self.current is not state.inputs:
            state.take_inputs(self.current)
        self._taken = news
        self._say_faults()

    def hand_over(self, state: State) -> None:
        """As `take`, and read people's files again if they were written."""
        before = self._store.files_read
        self._store.reread_people()
        if self._store.files_read != before:
            self._matches.ask()
        self.take(state)

    def look(self, state: State, keys: Collection[str] | None, *, thorough: bool = False) -> None:
        """Look for what a change brought, for a moment, and give the session what is known then.

        `keys` are URL keys that the session saw for the first time; None for any. `thorough` has everything
        looked at anew, GitHub included; this is not waited for.
        """
        self._ask_for_owners(state, keys, thorough=thorough)
        self._compare_with_files(state, keys)
        clones = self.current.clones
        if thorough or keys is None or any(key not in clones for key in keys):
            for worker in self._looks:
                worker.ask()
        if thorough:
            for worker in self._walks:
                worker.ask()
        free = [worker for worker in self._looks if worker.busy_s < self._timing.stuck_s]
        self._wait_for(free, self._timing.publication_wait_s)
        self.take(state)

    def wait_for_workspaces(self) -> None:
        """Wait until all that was asked for is done, but for GitHub; no longer than `once_wait_s`."""
        self._wait_for([*self._looks, *self._walks], self._timing.once_wait_s)

    def wait_for_github(self) -> None:
        """Wait until GitHub was asked for all owners that the session knows; no longer than `once_wait_s`."""
        self._wait_for([self._github], self._timing.once_wait_s)

    @property
    def _workers(self) -> tuple[Worker, ...]:
        return (*self._looks, *self._walks, self._github, self._matches)

    def _news(self) -> object:
        return self.looking, self.faults, self.notices, id(self.current)

    def _wait_for(self, workers: Collection[Worker], seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._bell:
            while any(worker.pending for worker in workers) and not self._stop.requested:
                left = end - time.monotonic()
                if left <= 0:
                    return
                self._bell.wait(min(left, SLICE_S))  # a signal's handler does not end it

    def _ask_for_owners(self, state: State, keys: Collection[str] | None, *, thorough: bool) -> None:
        if not self._store.asks_github:
            return
        with self._bell:
            self._owners |= state.owners(keys)
            self._all_owners_due |= thorough
            new = not self._owners <= self._asked_owners
        if thorough or new:
            self._github.ask()

    def _compare_with_files(self, state: State, keys: Collection[str] | None) -> None:
        """Have it found out which entries of people's files match nothing; not waited for."""
        if keys is None:
            self._keys = state.keys()
            if self._store.has_entries:
                self._matches.ask()
        elif self._unmatched:
            still = frozenset(self._store.unmatched(keys))
            self._unmatched = tuple(notice for notice in self._unmatched if notice in still)

    def _match(self, _asked: bool) -> None:
        self._unmatched = self._store.unmatched(self._keys)

    def _ask_github(self, asked: bool) -> None:
        """Ask for the owners that are new; by the clock, or if that is due, for all of them."""
        with self._bell:
            owners, everything = self._owners, self._all_owners_due or not asked
            new = owners - self._asked_owners
            self._asked_owners, self._all_owners_due = owners, False
        if everything:
            self._store.fetch(self._end, owners)
        elif new:
            self._store.fetch_owners(self._end, new)

    def _look_worker(self, number: int) -> Worker:
        def look(_asked: bool) -> None:
            self._store.search_root(number, self._end)
            # A directory that is watched from now on may have been filled just before.
            while self._watch_directories(number) and not self._end.requested:
                self._store.search_root(number, self._end)

        def every_s() -> float:
            unwatched = self._watch_faults.get(number)
            return self._timing.unwatched_look_s if unwatched else self._timing.watched_look_s

        return Worker(f"look {number}", look, every_s, self._bell)

    def _walk_worker(self, number: int, refresh_s: float) -> Worker:
        def walk(_asked: bool) -> None:
            self._store.walk_root(number, self._end)
            # A look from before the walk may know less.
            self._looks[number].ask()

        return Worker(f"walk {number}", walk, lambda: refresh_s, self._bell)

    def _watch_directories(self, number: int) -> bool:
        if not self._watches:
            return False
        grown, fault = self._watches.watch(number, self._store.directories(number))
        self._watch_faults[number] = fault
        return grown

    def _watch(self, watches: Watches) -> None:
        while watches.working and not self._end.requested:
            concerned = watches.wait(WATCH_SLICE_S)
            if concerned:
                time.sleep(GATHER_S)
                concerned |= watches.wait(0)
                for number in concerned:
                    self._looks[number].ask()
        watches.close()

    def _say_faults(self) -> None:
        """Log each fault when it comes and when it goes."""
        faults = self.faults
        for fault in faults:
            if fault not in self._said:
                log.warning("input_fault", fault=fault)
        for fault in self._said:
            if fault not in faults:
                log.info("input_fault_cleared", fault=fault)
        self._said = faults
        notices = self._store.notices + self._unmatched
        new = [notice for notice in notices if notice not in self._noticed]
        for notice in new[:MAX_LISTED]:
            log.info("input_notice", notice=notice)
        if len(new) > MAX_LISTED:
            log.info("input_notice", notice=f"{len(new) - MAX_LISTED} more like these")
        self._noticed |= frozenset(new)
