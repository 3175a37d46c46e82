"""The story of omnicdc: one cycle, from the log to whoever waits."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from omnicdc import capture
from omnicdc.acknowledge import acknowledge
from omnicdc.model import Generation
from omnicdc.publication import publish
from omnicdc.publish import nobody
from omnicdc.route import merge, route
from omnicdc.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from omnicdc.db import Connection
    from omnicdc.model import Work
    from omnicdc.state import State


def run_once(conn: Connection, state: State, observe: Callable[[str], None] = nobody) -> Generation | None:
    """Publish what the log holds beyond the last read; None if there was nothing to do.

    Raises TransientError, keeping nothing: the next session scans in full. A registry that cannot be
    scanned or written is held by itself. `observe` is told each point that was passed.
    """
    stages = Stages()
    with capture.reading(conn) as reading:
        with stages("read"):
            changes = reading.changes(state.snapshot)
            work = merge(route(changes, state.watch, trusted=state.trusted), state.overdue())
        if not changes and not work and not state.pending():
            state.snapshot = reading.snapshot
            return None
        with stages("scan"):
            scan(reading, work, state, observe)
        state.seen(reading.snapshot, changes)
    observe("scanned")
    with stages("publish"):
        written = publish(state, observe)
    observe("published")
    if not (changes or written or state.news()):
        return None
    with stages("acknowledge"):
        generation = _generation(state, len(changes), work, written, stages)
        acknowledge(conn, state, generation)
    observe("acknowledged")
    return generation


class Stages:
    """Milliseconds spent in each stage of a cycle, by a monotonic clock."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.perf_counter()
        yield
        self.ms[stage] = (time.perf_counter() - started) * 1000


def _generation(
    state: State, changes: int, work: Work, written: tuple[str, ...], stages: Stages
) -> Generation:
    standings = state.standings.values()
    named = [ids for ids in work.values() if ids is not None]
    return Generation(
        number=state.generation,
        snapshot=state.snapshot,
        changes=changes,
        projects=len(set().union(*named)) if len(named) == len(work) else None,
        scanners=tuple(name for name in state.standings if name in work),
        registries=written,
        held={s.name: s.fault for s in standings if s.fault and s.registry.scanner.name in work},
        quarantined={s.name: found for s in standings if (found := s.registry.held_projects())},
        stages=stages.ms,  # the same object: the acknowledgement's own time comes after its row
        at=datetime.now(UTC),
    )
