"""Why a registry is held, and how long it is left alone before the next attempt."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from omnicdc.model import Fault

log = structlog.get_logger()

MOST_DOUBLINGS = 6
LONGEST_REST_S = 300.0
"""How long a held registry is left alone at the most: 64 times as long as the last attempt took, so that it
takes a sixtieth of the daemon's time, and never longer than this."""

QUICK_S = 1.0
"""What fails within this time is tried again at once when a change concerns it."""


def back_off_s(failures: int, took_s: float) -> float:
    """Return how long to leave a registry alone that failed so many times in a row.

    The last attempt took `took_s`. What fails quickly, as on a full disk, is so tried again at each look; a
    scan of 45 s that fails is not.
    """
    return min(took_s * 2.0 ** min(failures, MOST_DOUBLINGS), LONGEST_REST_S)


@dataclass(slots=True)
class Hold:
    """The state of one registry: held for a reason, or not."""

    name: str
    """The registry's, in the log."""
    fault: Fault | None = None
    """The reason; None if it is not held."""
    by_guard: bool = False
    """Whether the guard holds it, or held it when this was last reported."""
    failures: int = 0
    """How often in a row it could not be published."""
    took_s: float = 0.0
    """How long the last failure took."""
    retry_at: float = 0.0
    """When it is tried again, by `time.monotonic`, if nothing happens before."""

    def start(self, fault: Fault, *, by_guard: bool = False, took_s: float = 0.0) -> None:
        """Hold the registry: its last good file stays. The same reason is logged once.

        Each time that it fails, it is left alone for twice as long. `took_s` is how long the attempt took.
        """
        self.failures += 1
        self.took_s = took_s
        self.retry_at = time.monotonic() + back_off_s(self.failures, took_s)
        if fault != self.fault:
            log.warning("held", registry=self.name, reason=fault.reason, hint=fault.hint)
        self.fault, self.by_guard = fault, by_guard

    def end(self) -> None:
        """Release the registry, and log that if it was held."""
        if self.fault:
            log.info("released", registry=self.name, was=self.fault.reason)
        self.forget()
        self.failures, self.took_s = 0, 0.0
        self.retry_now()

    def forget(self) -> None:
        """Release it without a word: its file is another process's for now, and that was logged."""
        self.fault, self.by_guard = None, False

    def retry_now(self) -> None:
        """Try again in the next cycle: what it is held for may be over."""
        self.retry_at = 0.0

    @property
    def resting(self) -> bool:
        """Whether it is held, and left alone for now."""
        return self.fault is not None and time.monotonic() < self.retry_at
