"""Runs the scanners' SELECTs in the snapshot of a reading, and has the registries render what they give."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psycopg.errors import QueryCanceled
from psycopg.rows import tuple_row

from omnicdc import db
from omnicdc.errors import DatabaseUnavailable, Interrupted, RegistryError
from omnicdc.model import EVERYTHING, Fault
from omnicdc.registries.garbage import uncollected
from omnicdc.registries.rows import (
    NOT_AS_EXPECTED,
    ROWS,
    explained,
    limit,
    of_a_row,
    readable,
    search,
    statement,
    too_slow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from psycopg import ServerCursor

    from omnicdc.capture.reader import Reading
    from omnicdc.db import Connection
    from omnicdc.log.timings import Stages
    from omnicdc.model import Ids, Work
    from omnicdc.registries.projection import Registry
    from omnicdc.registries.scanners import Row
    from omnicdc.state import Standing, State
    from omnicdc.stop import Stop

BULK = 1000
"""From here on a batch that names a third of a registry is a full scan, which costs a third as much an entry: 2,500
of 10,000 projects renamed took 107 ms by themselves, all 10,000 took 137."""


def scan(reading: Reading, work: Work, state: State, stages: Stages, observe: Callable[[str], None]) -> None:
    """Bring the registries up to the reading's snapshot; one that cannot be scanned is held, the others go on.

    `observe` is told `scanned NAME` after each. Raises DatabaseUnavailable if the table is younger than the snapshot.
    """
    conn, table = reading.conn, state.config.table
    found: dict[str, tuple[list[Row], dict[str, str]]] = {}
    late: RegistryError | None = None
    began, late_s = time.monotonic(), 0.0
    wanted = {name: _wanted(state.standings[name], work[name]) for name in state.standings if name in work}
    with stages("scan"):
        by_name = {name: ids for name, ids in wanted.items() if ids is not EVERYTHING}
        try:
            found = _together(conn, state, by_name)
        except RegistryError as exc:
            late, late_s = exc, time.monotonic() - began
    for name, ids in wanted.items():
        standing = state.standings[name]
        began = time.monotonic()
        try:
            if ids is EVERYTHING:
                _rebuild(conn, standing, table, state.stop, stages)
            elif late:
                raise late
            else:
                if name not in found:
                    with stages("scan"):
                        found[name] = readable(conn, standing.registry.scanner, table, ids)
                with stages("render"):
                    standing.pending |= standing.registry.update(ids, *found.pop(name))
        except RegistryError as exc:
            took_s = late_s if exc is late else time.monotonic() - began
            hint = state.capture.mend if state.capture.fault else exc.hint
            standing.hold(Fault(exc.message, hint), took_s=took_s)
            standing.scan_due = True
            continue
        standing.scan_due = False
        state.rescan.pop(name, None)
        observe(f"scanned {name}")
    if EVERYTHING in wanted.values():
        with stages("scan"):
            _insist(db.start(conn, "rewritten"))


def _wanted(standing: Standing, ids: Ids) -> Ids:
    """Return which projects to look at, for those that a change named."""
    # What failed before may have missed more than this change: then these ids are not enough.
    if ids is EVERYTHING or standing.scan_due:
        return EVERYTHING
    return ids if len(ids) <= _most(standing) else EVERYTHING


def most_by_name(state: State) -> int:
    """Return how many projects a change may concern to be looked at by name; beyond, everything is."""
    return max(map(_most, state.standings.values()))


def _most(standing: Standing) -> int:
    return max(BULK, len(standing.registry.document) // 3)


def _together(
    conn: Connection, state: State, wanted: Mapping[str, frozenset[str]]
) -> dict[str, tuple[list[Row], dict[str, str]]]:
    """Run the targeted SELECTs in one round trip; nothing if one of them fails: then each is tried by itself.

    Raises RegistryError if one takes too long: by themselves they would take as long again.
    Of a table that was made or written anew after the snapshot nothing is seen: so that is asked afterwards, as in `scan`.
    """
    if not wanted:
        return {}
    cursors = {}
    try:
        with conn.pipeline():
            conn.execute("savepoint scan")
            limit(conn)
            for name, ids in wanted.items():
                query = statement(state.standings[name].registry.scanner, state.config.table, targeted=True)
                cursors[name] = conn.cursor(row_factory=tuple_row).execute(query, [list(ids)])
    except NOT_AS_EXPECTED:
        conn.execute("rollback to scan")
        return {}
    except QueryCanceled as exc:
        conn.execute("rollback to scan")
        raise too_slow(exc) from exc
    # By itself: the driver ends a pipeline with a Flush, and a server that gets one while it is idle in a transaction no
    # longer counts for how long. What hangs after this is ended after idle_in_transaction_session_timeout.
    _insist(db.start(conn, "rewritten"))
    return {name: (cursor.fetchall(), {}) for name, cursor in cursors.items()}


def _insist(rewritten: db.Cursor) -> None:
    """Raise DatabaseUnavailable if what was read is not to be believed: to an older snapshot the table looks empty."""
    if db.only(rewritten)["rewritten"]:
        raise DatabaseUnavailable(
            "CMP's table was written anew while its lock was waited for",
            again=True,
        )


def _rebuild(conn: Connection, standing: Standing, table: str, stop: Stop, stages: Stages) -> None:
    """Have a registry start over from all of CMP, row by row, rendered as they come.

    Raises RegistryError, or Interrupted if a stop is asked for.
    """
    registry = standing.registry
    try:
        _rebuild_at_once(conn, registry, table, stop, stages)
    except RegistryError as exc:
        if not of_a_row(exc):
            raise
        unreadable: dict[str, str] = {}
        with stages("render"), uncollected():
            registry.rebuild(
                search(conn, registry.scanner, table, EVERYTHING, unreadable, stop=stop), unreadable
            )
    standing.pending = True


def _rebuild_at_once(conn: Connection, registry: Registry, table: str, stop: Stop, stages: Stages) -> None:
    query = statement(registry.scanner, table, targeted=False)
    with (
        stages("render"),
        explained(conn, registry.scanner, table),
        uncollected(),
        conn.transaction(),
        # A cursor on the server: what is not rendered yet need not be held here as well.
        conn.cursor("omnicdc_scan", row_factory=tuple_row) as cursor,
    ):
        limit(conn)
        cursor.execute(query)
        registry.rebuild(_fetched(cursor, stop, stages))


def _fetched(cursor: ServerCursor[Row], stop: Stop, stages: Stages) -> Iterator[Row]:
    while True:
        if stop.requested:
            raise Interrupted("stopped in the middle of a full scan")
        with stages("scan"):
            rows = cursor.fetchmany(ROWS)
        if not rows:
            return
        yield from rows
