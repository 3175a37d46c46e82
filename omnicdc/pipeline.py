"""The story of omnicdc: one cycle, from the log to whoever waits."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from omnicdc import capture
from omnicdc.acknowledge import acknowledge
from omnicdc.model import Generation
from omnicdc.publication import publish, record
from omnicdc.publish import nobody
from omnicdc.route import merge, route
from omnicdc.scan import most_by_name, scan
from omnicdc.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.capture import Reading
    from omnicdc.db import Connection
    from omnicdc.model import Work
    from omnicdc.state import State

THOROUGH = frozenset({"rebuild", "look"})
"""Rows of the log that ask for all inputs to be looked at anew."""


def run_once(conn: Connection, state: State, observe: Callable[[str], None] = nobody) -> Generation | None:
    """Publish what the log holds beyond the last read; None if there was nothing to do.

    Raises TransientError, keeping nothing: the next session scans in full. A registry that cannot be
    scanned or written is held by itself. `observe` is told each point that was passed.
    """
    stages = Stages()
    with ExitStack() as replaced:
        with ExitStack() as transaction:
            with stages("read"):
                reading = transaction.enter_context(
                    capture.reading(conn, state.snapshot, most=most_by_name(state), parked=state.parked)
                )
                state.parked = False
                stages.add("wake", max(0.0, reading.waited_ms or 0.0))
            work = merge(route(reading.changes, state.watch, trusted=state.capture.trusted), state.overdue())
            if not (reading.changes or work or state.pending() or state.news()):
                state.snapshot = reading.snapshot
                return None
            scan(reading, work, state, stages, observe)
            look(reading, state, stages, observe)
        state.seen(reading.snapshot, reading.changes)
        observe("scanned")
        with stages("publish"):
            written = publish(state, replaced, observe)
        observe("published")
        generation = None
        if reading.changes or written or state.news():
            generation = _generation(state, reading, work, written, stages)
            with stages("acknowledge"):
                acknowledge(conn, state, generation)
            state.told(stages.ms["acknowledge"])
            observe("acknowledged")
    record(state, observe)
    return generation and replace(generation, stages=stages.ms)


def look(reading: Reading, state: State, stages: Stages, observe: Callable[[str], None]) -> None:
    """Look at once for the clones of what the changes brought, so that a new project is published with its path.

    In the reading's snapshot, and for a moment only. What is not found by then comes with a later generation.
    """
    thorough = any(change.op in THOROUGH for change in reading.changes)
    arrived = state.arrived()
    if state.looker is None or not (thorough or arrived is None or arrived):
        return
    with stages("scan"):
        state.looker.look(state, arrived, thorough=thorough)
    concerned: Work = {
        name: frozenset(ids) for name, ids in state.rescan.items() if not state.standings[name].scan_due
    }
    if concerned:
        scan(reading, concerned, state, stages, observe)


def _generation(
    state: State, reading: Reading, work: Work, written: tuple[str, ...], stages: Stages
) -> Generation:
    standings = state.standings.values()
    named = [ids for ids in work.values() if ids is not None]
    return Generation(
        number=state.generation,
        snapshot=state.snapshot,
        changes=sum(change.rows for change in reading.changes),
        projects=len(set().union(*named)) if len(named) == len(work) else None,
        scanners=tuple(name for name in state.standings if name in work),
        registries=written,
        held={s.name: s.fault for s in standings if s.fault and s.registry.scanner.name in work},
        quarantined={s.name: found for s in standings if (found := s.registry.held_projects())},
        stages=stages.ms,
        at=datetime.now(UTC),
    )
