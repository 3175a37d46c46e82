"""What the acknowledgement says about the inputs. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LISTED = 20
"""At most so many faults and so many notices of the inputs are listed in full; the others are counted."""


def report(
    waiting_for: Sequence[str], faults: Sequence[str], notices: Sequence[str], shadow_of: str | None = None
) -> dict[str, Any]:
    """Return whether the files show the newest inputs, what they wait for, and the faults and notices.

    `shadow_of` is the root of the inputs if the registries are published into its shadow; else None.
    """
    return {
        "state": "looking" if waiting_for else "current",
        "waiting_for": list(waiting_for),
        "faults": list(faults[:MAX_LISTED]),
        "fault_count": len(faults),
        "notices": list(notices[:MAX_LISTED]),
        "notice_count": len(notices),
        "shadow_of": shadow_of,
    }
