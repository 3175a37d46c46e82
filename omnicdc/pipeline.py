"""The story of omnicdc: one cycle, from the log to the waiters.

    capture ─▶ registries ─▶ files ─▶ delivery

`state` is what one session knows between two cycles; each room changes only what it owns.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from omnicdc.capture.fingerprint import fingerprint, look_at_capture
from omnicdc.capture.reader import reading
from omnicdc.capture.route import merge, route
from omnicdc.delivery.acknowledge import acknowledge
from omnicdc.errors import DatabaseUnavailable
from omnicdc.files.publication import publish
from omnicdc.filesystem.atomic import no_observer
from omnicdc.log.timings import Timings
from omnicdc.registries.scan import most_by_name, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from omnicdc.capture.reader import Reading
    from omnicdc.db import Connection
    from omnicdc.model import Generation, Work
    from omnicdc.state import State

THOROUGH = frozenset({"rebuild", "look"})
"""Rows of the log that ask for all inputs to be looked at anew."""

SCANS = 5
"""How often one cycle scans while CMP's table or types are being altered beside it."""

log = structlog.get_logger()


def run_once(
    conn: Connection, state: State, observe: Callable[[str], None] = no_observer
) -> Generation | None:
    """Publish what the log holds beyond the last read; None if there was nothing to do.

    Raises TransientError, keeping nothing: the next session scans in full. A registry that cannot be
    scanned or written is held by itself. `observe` is told each point that was passed.
    """
    timings, generation = Timings(), None
    with ExitStack() as replaced:
        found = _read_and_scan(conn, state, timings, observe)
        if found is None:
            return None
        current, work, asked = found
        state.mark_read(current.snapshot, current.changes)
        observe("scanned")
        with timings("publish"):
            done = publish([*state.files.values()], state.policy(), replaced, observe)
            state.mark_published(done)
        observe("published")
        if current.changes or done.written or state.has_unreported_faults():
            generation = state.as_generation(current.changes, work, done.written, timings.ms, asked)
            with timings("acknowledge"):
                acknowledge(conn, state, generation)
            state.mark_reported(timings.ms["acknowledge"])
            observe("acknowledged")
    if state.manifest.due:
        state.manifest.write(state.as_manifest())
        observe("manifest")
    return generation and replace(generation, timings=timings.ms)


def _read_and_scan(
    conn: Connection, state: State, timings: Timings, observe: Callable[[str], None]
) -> tuple[Reading, Work, Collection[str]] | None:
    """Read the log and scan what it names, in one snapshot; None if there was nothing to do.

    Returns the work that was done, and the scanners that changes asked for, whether or not they were tried
    now.

    If CMP's rows got other values meanwhile without being written (an enum's label was renamed), some entries
    show the old ones and others the new: then everything is scanned again. Raises DatabaseUnavailable if that
    happens again and again.
    """
    for _ in range(SCANS):
        with ExitStack() as transaction:
            with timings("read"):
                most = most_by_name(state.projections.values())
                current = transaction.enter_context(
                    reading(conn, state.snapshot, most=most, parked=state.parked)
                )
                state.parked = False
                timings.add("wake", max(0.0, current.waited_ms or 0.0))
            asked = route(current.changes, state.watch, trusted=state.capture.trusted)
            work = merge(state.due_now(asked, current.changes), state.overdue())
            if not (current.changes or work or state.may_write() or state.has_unreported_faults()):
                state.snapshot = current.snapshot
                return None
            state.mark_scanned(scan(conn, work, state.scanning(timings, observe)))
            looked = _look_for_clones(current, state, timings, observe)
        with timings("scan"):
            same = not (work or looked) or fingerprint(conn) == state.capture.fingerprint
        if same:
            return current, work, asked
        log.info("scan_repeated", reason="CMP's table, or a type of its columns, was altered during the scan")
        state.altered(look_at_capture(conn, state.watch))
    raise DatabaseUnavailable(
        f"CMP's table, or a type of its columns, was altered during each of {SCANS} scans",
        again=True,
        hint="see which session alters it: `select pid, query from pg_stat_activity`",
    )


def _look_for_clones(
    current: Reading, state: State, timings: Timings, observe: Callable[[str], None]
) -> bool:
    """Look at once for the clones that the changes brought, so that a new project has its path.

    In the reading's snapshot, and for a moment only. What is not found by then comes with a later generation.
    Returns whether anything was scanned.
    """
    thorough = any(change.op in THOROUGH for change in current.changes)
    arrived = state.arrived()
    if state.looker is None or not (thorough or arrived is None or arrived):
        return False
    with timings("scan"):
        state.looker.look(state, arrived, thorough=thorough)
    concerned: Work = {
        name: frozenset(ids)
        for name, ids in state.rescan.items()
        if not state.files[name].projection.scan_due
    }
    if concerned:
        state.mark_scanned(scan(current.conn, concerned, state.scanning(timings, observe)))
    return bool(concerned)
