"""Refreshes the inputs in background threads, and knows which requested refreshes are not done yet.

Clones, the heart and GitHub are slow, and a mount may hang for ever. So each workspace has its own threads,
and the daemon's main thread never accesses a workspace. `inputs.store` reads the inputs and stores them; this
module decides when.

Each workspace has two workers: *walk* searches the whole workspace for clones, *look* only refreshes the
directories that are known.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.daemon.worker import Worker
from omnicdc.inputs.parts import InputSettings
from omnicdc.inputs.report import MAX_LISTED
from omnicdc.inputs.store import InputStore
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
"""How many seconds the thread that watches may continue after the end of the refresher."""

GATHER_S = 0.05
"""Seconds between the first event in a directory and the refresh: git creates a clone in many steps."""


class Refresher:
    """Keeps the inputs of one daemon up to date.

    This is a context manager. It loads the inputs of the last run, starts its threads, and ends them. With
    `watches`, a change in a workspace causes a refresh. Without it, a workspace is refreshed only on request
    and by the clock, which is enough for `run --once`.
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
        self._requested_owners: frozenset[str] = frozenset()
        self._all_owners_due = True
        self._logged_faults: tuple[str, ...] = ()
        self._logged_notices: frozenset[str] = frozenset()
        self._keys: set[str] = set()
        """The URL keys of CMP's projects at the last full scan, and those that came since. None is removed:
        an entry without effect may be reported late, but one that has an effect never is."""
        self._unmatched: tuple[str, ...] = ()
        self._matches = Worker("matches", self._find_unmatched, lambda: None, self._bell)
        self._last_taken: object = None
        numbers = range(len(settings.roots))
        self._look_workers = [self._look_worker(number) for number in numbers]
        self._walk_workers = [self._walk_worker(number, config.refresh_s) for number in numbers]
        self._github = Worker("GitHub", self._ask_github, lambda: config.refresh_s, self._bell)
        self._roots, self._configured_owners = settings.roots, settings.github_owners

    def __enter__(self) -> Self:
        """Load the inputs of the last run, request a refresh of everything, and wait a short time for it."""
        self._store.load()
        first = not self._store.primed
        for worker in self._workers:
            worker.start()
        if self._watches:
            threading.Thread(target=self._watch, args=[self._watches], name="watches", daemon=True).start()
        for worker in (*self._look_workers, *self._walk_workers):
            worker.request()
        if self._configured_owners and self._store.asks_github:
            self._github.request()
        wait_s = self._timing.first_start_wait_s if first else self._timing.start_wait_s
        self._wait_for([*self._look_workers, *self._walk_workers], wait_s)
        self._log_faults()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Request the end of all threads. A thread that hangs continues, but does no harm."""
        self._end()
        for worker in self._workers:
            worker.end()

    @property
    def current(self) -> Inputs:
        """The inputs as they were last read."""
        return self._store.current

    @property
    def looking(self) -> tuple[str, ...]:
        """Which requested refreshes are not done yet: `workspaces`, `GitHub`."""
        workspaces = any(worker.pending for worker in (*self._look_workers, *self._walk_workers))
        return (("workspaces",) if workspaces else ()) + (("GitHub",) if self._github.pending else ())

    @property
    def has_news(self) -> bool:
        """Whether something has changed since the last `take`."""
        return self._last_taken != self._current_news()

    @property
    def faults(self) -> tuple[str, ...]:
        """The current faults of the inputs. A user should fix them."""
        hung_s, walking_s = self._timing.hung_s, self._timing.walking_s
        slow = [
            f"{root}: no answer for {hung_s:.0f} s, as of a mount that hangs; its clones stay as they were "
            f"known"
            if look.busy_s > hung_s
            else f"{root}: walking it takes more than {walking_s:.0f} s; look for a mount that hangs below it"
            for root, look, walk in zip(self._roots, self._look_workers, self._walk_workers, strict=True)
            if look.busy_s > hung_s or walk.busy_s > walking_s
        ]
        return (*self._store.faults, *filter(None, self._watch_faults.values()), *slow)

    @property
    def notices(self) -> tuple[str, ...]:
        """What may be a mistake in the inputs, and has no effect."""
        return (*sorted(self._store.harmless), *self._store.notices, *self._unmatched)

    def take(self, state: State) -> None:
        """Store the current inputs, faults and notices in the session's state."""
        # `looking` is read before the inputs. So the inputs contain the result of every refresh that
        # `looking` no longer lists.
        news = self._current_news()
        harmless = self._store.harmless
        state.looking, state.input_notices = self.looking, self.notices
        state.input_faults = tuple(fault for fault in self.faults if fault not in harmless)
        if self.current is not state.inputs:
            state.take_inputs(self.current)
        self._last_taken = news
        self._log_faults()

    def hand_over(self, state: State) -> None:
        """Do as `take`, but first read people's files again if they have changed."""
        before = self._store.files_read
        self._store.reread_people()
        if self._store.files_read != before:
            self._matches.request()
        self.take(state)

    def look(self, state: State, keys: Collection[str] | None, *, thorough: bool = False) -> None:
        """Request the inputs that a change needs, wait a short time for them, and store them in the state.

        `keys` are the URL keys that the session saw for the first time; None means that any key may be new.
        With `thorough`, everything is refreshed, GitHub included; this call does not wait for all of that.
        """
        self._request_owners(state, keys, thorough=thorough)
        self._request_matching(state, keys)
        clones = self.current.clones
        if thorough or keys is None or any(key not in clones for key in keys):
            for worker in self._look_workers:
                worker.request()
        if thorough:
            for worker in self._walk_workers:
                worker.request()
        free = [worker for worker in self._look_workers if worker.busy_s < self._timing.stuck_s]
        self._wait_for(free, self._timing.publication_wait_s)
        self.take(state)

    def wait_for_workspaces(self) -> None:
        """Wait, at most `once_wait_s`, until all requested refreshes are done, except GitHub's."""
        self._wait_for([*self._look_workers, *self._walk_workers], self._timing.once_wait_s)

    def wait_for_github(self) -> None:
        """Wait, at most `once_wait_s`, until GitHub was asked about all owners that the session knows."""
        self._wait_for([self._github], self._timing.once_wait_s)

    @property
    def _workers(self) -> tuple[Worker, ...]:
        return (*self._look_workers, *self._walk_workers, self._github, self._matches)

    def _current_news(self) -> object:
        return self.looking, self.faults, self.notices, id(self.current)

    def _wait_for(self, workers: Collection[Worker], seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._bell:
            while any(worker.pending for worker in workers) and not self._stop.requested:
                left = end - time.monotonic()
                if left <= 0:
                    return
                self._bell.wait(min(left, SLICE_S))  # in slices, because a signal does not end wait()

    def _request_owners(self, state: State, keys: Collection[str] | None, *, thorough: bool) -> None:
        if not self._store.asks_github:
            return
        with self._bell:
            self._owners |= state.owners(keys)
            self._all_owners_due |= thorough
            new = not self._owners <= self._requested_owners
        if thorough or new:
            self._github.request()

    def _request_matching(self, state: State, keys: Collection[str] | None) -> None:
        """Request the search for entries of people's files that match no project. This does not wait."""
        if keys is None:
            self._keys = set(state.keys())
            if self._store.has_entries:
                self._matches.request()
            return
        self._keys.update(keys)
        if self._unmatched:
            still = frozenset(self._store.unmatched(keys))
            self._unmatched = tuple(notice for notice in self._unmatched if notice in still)

    def _find_unmatched(self, _requested: bool) -> None:
        self._unmatched = self._store.unmatched(frozenset(self._keys))  # a copy: the loop's thread adds keys

    def _ask_github(self, requested: bool) -> None:
        """Ask GitHub about the new owners; about all owners if all are due, or without a request."""
        with self._bell:
            owners, everything = self._owners, self._all_owners_due or not requested
            new = owners - self._requested_owners
            self._requested_owners, self._all_owners_due = owners, False
        if everything:
            self._store.fetch(self._end, owners)
        elif new:
            self._store.fetch_owners(self._end, new)

    def _look_worker(self, number: int) -> Worker:
        def look(_asked: bool) -> None:
            self._store.search_root(number, self._end)
            # A directory that is watched from now on may have been filled just before.
            while self._watch_new_directories(number) and not self._end.requested:
                self._store.search_root(number, self._end)

        def every_s() -> float:
            unwatched = self._watch_faults.get(number)
            return self._timing.unwatched_look_s if unwatched else self._timing.watched_look_s

        return Worker(f"look {number}", look, every_s, self._bell)

    def _walk_worker(self, number: int, refresh_s: float) -> Worker:
        def walk(_requested: bool) -> None:
            self._store.walk_root(number, self._end)
            # The walk may have found directories that the last look did not know.
            self._look_workers[number].request()

        return Worker(f"walk {number}", walk, lambda: refresh_s, self._bell)

    def _watch_new_directories(self, number: int) -> bool:
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
                    self._look_workers[number].request()
        watches.close()

    def _log_faults(self) -> None:
        """Log each fault when it begins and when it ends, and each new notice once."""
        faults = self.faults
        for fault in faults:
            if fault not in self._logged_faults:
                log.warning("input_fault", fault=fault)
        for fault in self._logged_faults:
            if fault not in faults:
                log.info("input_fault_cleared", fault=fault)
        self._logged_faults = faults
        notices = self._store.notices + self._unmatched
        new = [notice for notice in notices if notice not in self._logged_notices]
        for notice in new[:MAX_LISTED]:
            log.info("input_notice", notice=notice)
        if len(new) > MAX_LISTED:
            log.info("input_notice", notice=f"{len(new) - MAX_LISTED} more like these")
        self._logged_notices |= frozenset(new)
