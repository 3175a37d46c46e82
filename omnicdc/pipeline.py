"""One cycle of the daemon: from the log to the acknowledgement that ends waits.

    capture ─▶ registries ─▶ files ─▶ delivery

`state` is what one session remembers between two cycles. Each package changes only its own part of it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from omnicdc.capture.fingerprint import fingerprint, look_at_capture
from omnicdc.capture.reader import Extras, reading
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
"""Operations in the log that ask for a refresh of all inputs."""

SCANS = 5
"""Attempts of one cycle to scan while another session alters CMP's table or types."""

log = structlog.get_logger()


def run_once(
    conn: Connection, state: State, observe: Callable[[str], None] = no_observer
) -> Generation | None:
    """Publish the changes that the log got since the last read; None if there was nothing to do.

    A registry that cannot be scanned or written is held; the others are published. Raises TransientError:
    then the state must be discarded, and the next session scans everything. `observe` is called after each
    step, with its name. A repeat continues after the last read.
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
            done = publish([*state.files.values()], state.policy(), replaced, observe, state.stop)
            state.mark_published(done)
        observe("published")
        if current.changes or done.written or state.has_unreported_faults():
            generation = state.as_generation(current.changes, work, done.written, timings.ms, asked)
            with timings("acknowledge"):
                acknowledge(conn, state, generation)
            state.mark_reported()
            observe("acknowledged")
            generation = replace(
                generation,
                timings=timings.ms,
                transactions=current.transactions,
                traces=current.traces,
            )
        state.unpublished = 0
    if state.manifest.due:
        state.manifest.write(state.as_manifest())
        observe("manifest")
    return generation


def _read_and_scan(
    conn: Connection, state: State, timings: Timings, observe: Callable[[str], None]
) -> tuple[Reading, Work, Collection[str]] | None:
    """Read the log and scan the projects that it names, in one snapshot; None if there was nothing to do.

    Returns the reading, the work that was done, and the scanners that the changes concern. The work of some
    of these scanners may be postponed.

    A change of the schema can change values without a write to their rows, such as a new name for an enum's
    label. If this happens during the scan, some entries show old values and others new ones, so everything
    is scanned again. Raises DatabaseUnavailable if this happens SCANS times.
    """
    for _ in range(SCANS):
        with ExitStack() as transaction:
            with timings("read"):
                most = most_by_name(state.projections.values())
                extras = Extras(state.counts_transactions, state.capture.traces)
                parked = state.parked
                current = transaction.enter_context(
                    reading(conn, state.snapshot, most=most, parked=parked, extras=extras)
                )
                state.parked = False
                state.unpublished = sum(change.rows for change in current.changes)
                timings.add("wake", max(0.0, current.waited_ms or 0.0))
            asked = route(current.changes, state.watch, trusted=state.capture.trusted)
            work = merge(state.due_now(asked, current.changes), state.overdue())
            if not (current.changes or work or state.may_write() or state.has_unreported_faults()):
                state.snapshot = current.snapshot
                return None
            state.mark_scanned(scan(conn, work, state.scanning(timings, observe)))
            rescanned = _search_clones(current, state, timings, observe)
        with timings("scan"):
            same = not (work or rescanned) or fingerprint(conn) == state.capture.fingerprint
        if same:
            return current, work, asked
        log.info("scan_repeated", reason="CMP's table, or a type of its columns, was altered during the scan")
        state.replace_capture(look_at_capture(conn, state.watch))
    raise DatabaseUnavailable(
        f"CMP's table, or a type of its columns, was altered during each of {SCANS} scans",
        again=True,
        hint="see which session alters it: `select pid, query from pg_stat_activity`",
    )


def _search_clones(current: Reading, state: State, timings: Timings, observe: Callable[[str], None]) -> bool:
    """Search the clones of new projects, so that their first entry has its path. Return True if this scanned.

    The search may take a short time only. Clones that it finds later come with a later generation. The
    projects are scanned in the reading's snapshot.
    """
    thorough = any(change.op in THOROUGH for change in current.changes)
    arrived = state.take_arrived_keys()
    if state.input_refresher is None or not (thorough or arrived is None or arrived):
        return False
    with timings("scan"):
        state.input_refresher.look(state, arrived, thorough=thorough)
    concerned: Work = {
        name: frozenset(ids)
        for name, ids in state.rescan.items()
        if not state.files[name].projection.scan_due
    }
    if concerned:
        state.mark_scanned(scan(current.conn, concerned, state.scanning(timings, observe)))
    return bool(concerned)
