"""How long a reading may rest between two statements, and when a longer limit helps. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import db

if TYPE_CHECKING:
    from omnicdc.errors import OmnicdcError

READING_IDLE_S = 10.0
LONGEST_READING_IDLE_S = 300.0
"""Seconds that the daemon may spend between two statements of a reading: usually, and at most."""


def reading_idle_s(usual_s: float, failures: int) -> float:
    """Return how many seconds the daemon may spend between two statements of a reading, after these failures.

    The limit doubles with each failure, because a busy host may need longer than usual to render all rows.
    With one limit for all sessions, each of them would end in the same way, and the daemon would never serve.
    """
    return min(usual_s * 2.0 ** min(failures, 10), LONGEST_READING_IDLE_S)


def longer_may_help(failure: OmnicdcError, idle_s: float) -> bool:
    """Whether another attempt with a longer limit may succeed after this failure."""
    return db.ended_idle(failure) and idle_s < LONGEST_READING_IDLE_S
