"""Why a registry is held, and when its next attempt is due."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from omnicdc.model import Fault

MAX_DOUBLINGS = 6
MAX_BACK_OFF_S = 300.0
"""Longest pause between two attempts. Below this limit, the longest pause is 64 times the duration of the
last attempt, so that attempts take about a sixtieth of the daemon's time."""

QUICK_S = 1.0
"""If the last attempt took no longer than this, a change of the registry starts the next attempt at once."""


def back_off_s(failures: int, took_s: float) -> float:
    """Return the pause, in seconds, after so many failures in a row. The last attempt took `took_s` seconds.

    An attempt that fails quickly, as on a full disk, is so repeated in each cycle. A scan that fails after
    45 s is not.
    """
    return min(took_s * 2.0 ** min(failures, MAX_DOUBLINGS), MAX_BACK_OFF_S)


@dataclass(slots=True)
class Hold:
    """The state of one registry: held for a reason, or not."""

    name: str
    """The registry's name in the log."""
    fault: Fault | None = None
    """The reason; None if it is not held."""
    by_guard: bool = False
    """True if the guard is the reason, or was the reason at the last `start`."""
    failures: int = 0
    """Failed attempts in a row."""
    took_s: float = 0.0
    """Duration of the last failed attempt, in seconds."""
    retry_at: float = 0.0
    """Time of the next attempt, by `time.monotonic`, if no event starts it earlier."""

    def start(self, fault: Fault, *, by_guard: bool = False, took_s: float = 0.0) -> None:
        """Hold the registry: its last good file stays. A reason is logged only when it changes.

        `took_s` is the duration of the attempt in seconds. A repeat counts as one more failure, and doubles
        the pause.
        """
        self.failures += 1
        self.took_s = took_s
        self.retry_at = time.monotonic() + back_off_s(self.failures, took_s)
        if fault != self.fault:
            log = _log()
            log.warning("held", registry=self.name, reason=fault.reason, hint=fault.hint)
        self.fault, self.by_guard = fault, by_guard

    def end(self) -> None:
        """Release the registry. This is logged if it was held."""
        if self.fault:
            log = _log()
            log.info("released", registry=self.name, was=self.fault.reason)
        self.forget()
        self.failures, self.took_s = 0, 0.0
        self.retry_now()

    def forget(self) -> None:
        """Release the registry without a log line: its file keeps an external change, and that was logged."""
        self.fault, self.by_guard = None, False

    def retry_now(self) -> None:
        """Make the next attempt due now, because the reason for the hold may be gone."""
        self.retry_at = 0.0

    @property
    def backing_off(self) -> bool:
        """True if it is held and its next attempt is not due yet."""
        return self.fault is not None and time.monotonic() < self.retry_at


def _log() -> FilteringBoundLogger:
    # Imported here: it takes a quarter of the time of `omnicdc verify`, which holds nothing.
    import structlog  # noqa: PLC0415

    logger: FilteringBoundLogger = structlog.get_logger()
    return logger
