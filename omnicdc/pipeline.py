"""The story of omnicdc: one cycle, from the log to whoever waits."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from omnicdc.capture import reader
from omnicdc.capture.fingerprint import fingerprint, look_at_capture
from omnicdc.capture.route import merge, route
from omnicdc.delivery.acknowledge import acknowledge
from omnicdc.errors import DatabaseUnavailable
from omnicdc.files.decide import Policy
from omnicdc.files.manifest import Manifest
from omnicdc.files.publication import publish
from omnicdc.filesystem.atomic import nobody
from omnicdc.log.timings import Stages
from omnicdc.model import Generation
from omnicdc.registries.scan import Scanning, most_by_name, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from omnicdc.capture.reader import Reading
    from omnicdc.db import Connection
    from omnicdc.model import Work
    from omnicdc.state import State

THOROUGH = frozenset({"rebuild", "look"})
"""Rows of the log that ask for all inputs to be looked at anew."""


log = structlog.get_logger()

SCANS = 5
"""How often one cycle scans while CMP's table or types are being altered beside it."""


def run_once(conn: Connection, state: State, observe: Callable[[str], None] = nobody) -> Generation | None:
    """Publish what the log holds beyond the last read; None if there was nothing to do.

    Raises TransientError, keeping nothing: the next session scans in full. A registry that cannot be
    scanned or written is held by itself. `observe` is told each point that was passed.
    """
    stages = Stages()
    with ExitStack() as replaced:
        found = _read(conn, state, stages, observe)
        if found is None:
            return None
        reading, work, asked = found
        state.seen(reading.snapshot, reading.changes)
        observe("scanned")
        with stages("publish"):
            written = _publish(state, replaced, observe)
        observe("published")
        generation = None
        if reading.changes or written or state.news():
            generation = _generation(state, reading, work, written, stages, asked=asked)
            with stages("acknowledge"):
                acknowledge(conn, state, generation)
            state.told(stages.ms["acknowledge"])
            observe("acknowledged")
    _write_manifest(state, observe)
    return generation and replace(generation, stages=stages.ms)


def _read(
    conn: Connection, state: State, stages: Stages, observe: Callable[[str], None]
) -> tuple[Reading, Work, Collection[str]] | None:
    """Read the log and scan what it names, in one snapshot; None if there was nothing to do.

    Returns the work that was done, and the scanners that changes asked for, whether or not they were tried now.

    If CMP's rows got other values meanwhile without being written (an enum's label was renamed), some entries show the old ones
    and others the new: then everything is scanned again. Raises DatabaseUnavailable if that happens again and again.
    """
    for _ in range(SCANS):
        with ExitStack() as transaction:
            with stages("read"):
                reading = transaction.enter_context(
                    reader.reading(
                        conn,
                        state.snapshot,
                        most=most_by_name(state.projections.values()),
                        parked=state.parked,
                    )
                )
                state.parked = False
                stages.add("wake", max(0.0, reading.waited_ms or 0.0))
            asked = route(reading.changes, state.watch, trusted=state.capture.trusted)
            work = merge(state.tried_now(asked, reading.changes), state.overdue())
            if not (reading.changes or work or state.pending() or state.news()):
                state.snapshot = reading.snapshot
                return None
            _scan(conn, work, state, stages, observe)
            looked = look(reading, state, stages, observe)
        with stages("scan"):
            same = not (work or looked) or fingerprint(conn) == state.capture.fingerprint
        if same:
            return reading, work, asked
        log.info("scan_repeated", reason="CMP's table, or a type of its columns, was altered during the scan")
        state.altered(look_at_capture(conn, state.watch))
    raise DatabaseUnavailable(
        f"CMP's table, or a type of its columns, was altered during each of {SCANS} scans",
        again=True,
        hint="see which session alters it: `select pid, query from pg_stat_activity`",
    )


def look(reading: Reading, state: State, stages: Stages, observe: Callable[[str], None]) -> bool:
    """Look at once for the clones of what the changes brought, so that a new project is published with its path.

    In the reading's snapshot, and for a moment only. What is not found by then comes with a later generation.
    Returns whether anything was scanned.
    """
    thorough = any(change.op in THOROUGH for change in reading.changes)
    arrived = state.arrived()
    if state.looker is None or not (thorough or arrived is None or arrived):
        return False
    with stages("scan"):
        state.looker.look(state, arrived, thorough=thorough)
    concerned: Work = {
        name: frozenset(ids)
        for name, ids in state.rescan.items()
        if not state.files[name].projection.scan_due
    }
    if concerned:
        _scan(reading.conn, concerned, state, stages, observe)
    return bool(concerned)


def _scan(conn: Connection, work: Work, state: State, stages: Stages, observe: Callable[[str], None]) -> None:
    remedy = state.capture.remedy if state.capture.fault else ""
    scanning = Scanning(state.projections, state.config.table, state.stop, stages, observe, remedy)
    for name in scan(conn, work, scanning):
        state.rescan.pop(name, None)


def _publish(state: State, replaced: ExitStack, observe: Callable[[str], None]) -> tuple[str, ...]:
    config = state.config
    policy = Policy(config.on_drift == "restore", config.guard_share, config.guard_min, state.accepted)
    done = publish([*state.files.values()], policy, replaced, observe)
    state.manifest.due |= done.adopted
    if done.written:
        state.generation += 1
        state.manifest.due = True
    state.mark_published()
    return done.written


def _write_manifest(state: State, observe: Callable[[str], None]) -> None:
    """Write the manifest, if it is due. Nothing waits for it: it helps the next start, and is no promise."""
    if state.manifest.due:
        registries = {file.path: file.published for file in state.files.values() if file.published}
        now = datetime.now(UTC)
        state.manifest.write(
            Manifest(state.config.consumer, state.generation, state.snapshot, now, registries)
        )
        observe("manifest")


def _generation(
    state: State,
    reading: Reading,
    work: Work,
    written: tuple[str, ...],
    stages: Stages,
    *,
    asked: Collection[str],
) -> Generation:
    named = [ids for ids in work.values() if ids is not None]
    return Generation(
        number=state.generation,
        snapshot=state.snapshot,
        changes=sum(change.rows for change in reading.changes),
        projects=len(set().union(*named)) if len(named) == len(work) else None,
        scanners=tuple(name for name in state.files if name in work),
        registries=written,
        held={
            it.name: it.hold.fault
            for it in state.held()
            if it.hold.fault and it.scanner.name in {*work, *asked}
        },
        quarantined=state.quarantine(),
        stages=stages.ms,
        at=datetime.now(UTC),
    )
