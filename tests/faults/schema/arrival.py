"""When a write has arrived, and how long a write of CMP may take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from support.host import DEADLINE_S

if TYPE_CHECKING:
    from support.served_cmp import ServedCmp


LONGEST_WRITE_S = 1.0
"""A write takes a millisecond. A write that waits for omnicdc would last until a time-out."""


def check_arrival(served: ServedCmp, token: str | None) -> float:
    """Call `wait` until it reports the arrival, and check that the file then holds the write.

    Returns how many seconds that took.
    """
    started = time.monotonic()
    while not (verdict := served.wait(token, timeout_s=0)).arrived:
        assert time.monotonic() - started < DEADLINE_S, verdict
    assert served.holds(), f"{verdict.status}, but the file does not hold it"
    return time.monotonic() - started
