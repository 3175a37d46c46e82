"""Collects the facts of the metrics: from the loop after each cycle, and from the session while it lasts.

The loop's thread writes, and the threads that serve metrics read. `samples` names the facts.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from omnicdc import __version__
from omnicdc.daemon.metrics.facts import CanaryFacts, Done, Facts, HookFacts, RegistryFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping
    from datetime import datetime

    from omnicdc.capture.doorbell import Backlog
    from omnicdc.model import Fault, Generation
    from omnicdc.state import State


class Bell(Protocol):
    """What the metrics need of `capture.doorbell`."""

    backlog: Backlog
    asleep: bool
    notifications: int


class SelfTest(Protocol):
    """What the metrics need of `daemon.canary`."""

    followed: bool
    fault: Fault | None
    passed_at: datetime | None
    took_s: float

    @property
    def not_receiving(self) -> bool:
        """Whether notifications do not arrive."""


class HookCounts(Protocol):
    """What the metrics need of `daemon.hooks`."""

    def facts(self) -> Mapping[str, HookFacts]:
        """Return the runs of each hook."""


@dataclass(frozen=True, slots=True)
class Session:
    """The parts of one session of the daemon that the metrics show."""

    state: State
    bell: Bell
    canary: SelfTest | None = None
    hooks: HookCounts | None = None


class Totals:
    """Adds up counts that begin again at zero with each new owner, such as those of a session."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[object, int, int]] = {}

    def add(self, key: Hashable, owner: object, count: int) -> int:
        """Note an owner's present count, and return the total of all owners. A repeat changes nothing."""
        last_owner, last, total = self._seen.get(key, (owner, 0, 0))
        total += count - (last if last_owner is owner else 0)
        self._seen[key] = owner, count, total
        return total


class Meter:
    """The facts of one process. They outlast sessions and reloads."""

    def __init__(self, turned_at: Callable[[], float], consumer: str) -> None:
        self.consumer = consumer
        self._turned_at = turned_at
        self._lock = threading.Lock()
        self._started_at = time.time()
        self._session: Session | None = None
        self._sessions = 0
        self._totals = Totals()
        self._done = Done()
        self._transactions = 0
        self._current_at = time.monotonic()
        """The files hold everything that was committed at this time, by `time.monotonic`."""
        self._published_at: float | None = None
        self._served = False
        self._registries: Mapping[str, RegistryFacts] = {}
        self._held: Mapping[str, str] = {}
        self._capture_fault = ""
        self._canary = CanaryFacts()
        self._hooks: Mapping[str, HookFacts] = {}
        self._reconnects = self._notifications = 0
        self.log_rows: int | None = None

    @contextmanager
    def session(self, session: Session, *, reconnected: bool) -> Iterator[None]:
        """Show the facts of a session during the `with` block. `reconnected`: the one before was lost."""
        with self._lock:
            self._session = session
            self._reconnects += reconnected
        try:
            yield
        finally:
            with self._lock:
                self._take(session)
                self._current_at = self._current(session)
                self._session = None

    def cycle_ended(self, began_at: float, generation: Generation | None, state: State) -> None:
        """Take the facts of a cycle that began at `began_at`, by `time.monotonic`."""
        registries = {name: self._registry(state, name) for name in state.files}
        held = {it.name: it.hold.fault.reason for it in state.held() if it.hold.fault}
        with self._lock:
            self._served = True
            self._current_at = began_at
            self._registries = {state.files[name].name: found for name, found in registries.items()}
            self._held, self._capture_fault = held, state.capture.fault or ""
            if generation is None:
                return
            sizes = {it.name: it.published.size for it in state.files.values() if it.published}
            written = {name: sizes.get(name, 0) for name in generation.registries}
            # Without a change, nothing was waited for.
            ms = {it: value for it, value in generation.timings.items() if generation.changes or it != "wake"}
            self._done = self._done.with_cycle(generation.changes, ms, written)
            self._transactions += generation.transactions
            if written:
                self._published_at = generation.at.timestamp()

    def facts(self) -> Facts:
        """Return the facts of now. Any thread may call this."""
        with self._lock:
            now, session = time.monotonic(), self._session
            if session:
                self._take(session)
            return Facts(
                consumer=self.consumer,
                version=__version__,
                started_at=self._started_at,
                turned_s=max(0.0, now - self._turned_at()),
                connected=session is not None,
                published=self._served,
                lag_s=self._lag_s(session, now),
                backlog=self._backlog(session),
                capture_fault=self._capture_fault,
                held=self._held,
                done=self._done,
                registries=self._registries,
                hooks=self._hooks,
                canary=self._canary,
                reconnects=self._reconnects,
                notifications=self._notifications,
                transactions=self._transactions,
                log_rows=self.log_rows,
                last_published_at=self._published_at,
            )

    def _registry(self, state: State, scanner: str) -> RegistryFacts:
        file = state.files[scanner]
        published = file.published
        return RegistryFacts(
            entries=published.count if published else None,
            size=published.size if published else None,
            published_at=published.mtime_ns / 1e9 if published else None,
            held=file.projection.hold.fault is not None,
            quarantined=len(file.projection.quarantined_projects()),
            drifts=self._totals.add(("drift", file.name), file, file.drift_count),
        )

    def _take(self, session: Session) -> None:
        """Take what the session's own parts have counted so far."""
        self._notifications = self._totals.add("notifications", session.bell, session.bell.notifications)
        canary = session.canary
        if canary and canary.followed:
            passed_at = canary.passed_at.timestamp() if canary.passed_at else self._canary.passed_at
            took_s = canary.took_s if canary.passed_at else self._canary.took_s
            self._canary = CanaryFacts(canary.fault is None, took_s, passed_at)
        runs = session.hooks.facts() if session.hooks else {}
        self._hooks = {name: self._hook(session.hooks, name, found) for name, found in runs.items()}

    def _hook(self, owner: object, name: str, found: HookFacts) -> HookFacts:
        return HookFacts(
            self._totals.add(("succeeded", name), owner, found.succeeded),
            self._totals.add(("failed", name), owner, found.failed),
            found.failing,
        )

    def _lag_s(self, session: Session | None, now: float) -> float:
        """Return for how long a committed change may be missing in the files, at most.

        A daemon that sleeps with a working doorbell misses nothing: the next writer notifies it.
        """
        if session and session.bell.asleep and not self._not_receiving(session):
            return 0.0
        return max(0.0, now - (self._current(session) if session else self._current_at))

    def _current(self, session: Session) -> float:
        if self._not_receiving(session):
            return self._current_at
        return max(self._current_at, session.bell.backlog.oldest_at)

    def _not_receiving(self, session: Session) -> bool:
        return session.canary is not None and session.canary.not_receiving

    def _backlog(self, session: Session | None) -> int:
        return max(session.state.unpublished, session.bell.backlog.changes) if session else 0
