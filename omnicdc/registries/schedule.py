"""Decides which part of the work a cycle does, and which a later one. No I/O.

A registry that is held waits for its next attempt. A full scan that a change of a joined source causes comes
after the other work, and not after each change.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from omnicdc.model import ALL
from omnicdc.registries.hold import QUICK_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.model import Work
    from omnicdc.registries.projection import Projection


class Schedule:
    """The work of one session's registries that was postponed."""

    def __init__(self, projections: Mapping[str, Projection]) -> None:
        self._projections = projections
        self._next_cycle: set[str] = set()
        """The scanners whose full scan waits for the next cycle."""

    def due_now(self, work: Work, *, rebuild: bool) -> Work:
        """Return the part of `work` that this cycle does. `work` is what the changes ask for.

        A held registry whose scan is slow waits for its next attempt, unless a rebuild was requested. Its
        part is postponed, and a full scan does it later.
        """
        for name in work:
            hold = self._projections[name].hold
            if rebuild or hold.took_s <= QUICK_S:
                hold.retry_now()
        waiting = {name for name in work if self._projections[name].hold.backing_off}
        for name in waiting:
            self._projections[name].scan_due = True
        now = {name: ids for name, ids in work.items() if name not in waiting}
        return now if rebuild else self._without_full_scans(now)

    def overdue(self, rescan: Mapping[str, set[str]], *, accepted: bool) -> Work:
        """Return the work that no row of the log asks for: full scans that are due, and `rescan`.

        `rescan` is scanner to the projects that must be scanned because an input changed. With `accepted`,
        held registries do not wait.
        """
        due = (
            name
            for name, it in self._projections.items()
            if it.scan_due
            and (accepted or not it.hold.backing_off)
            and not (it.postponed and it.pause_s > 0)
            and name not in self._next_cycle
        )
        return {name: frozenset(ids) for name, ids in rescan.items()} | dict.fromkeys(due, ALL)

    def end_cycle(self) -> None:
        """Let the next cycle begin: what waited for it is due when its pause is over."""
        self._next_cycle.clear()

    @property
    def due_in_s(self) -> float:
        """Seconds until postponed work is due; infinite if there is none."""
        return min((it.pause_s for it in self._projections.values() if it.postponed), default=math.inf)

    def _without_full_scans(self, work: Work) -> Work:
        full = {
            name
            for name, ids in work.items()
            if (it := self._projections[name]).joins
            and (ids is ALL or it.scan_due or not it.scanner.targeted)
        }
        alone = full == work.keys()
        # Nothing waits twice for other work, however much there is.
        self._next_cycle = {
            name
            for name in full
            if self._projections[name].pause_s > 0 or not (alone or self._projections[name].waited)
        }
        for name in self._next_cycle:
            self._projections[name].postpone(scan=True)
        return {name: ids for name, ids in work.items() if name not in self._next_cycle}
