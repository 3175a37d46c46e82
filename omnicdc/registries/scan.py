"""Runs the scanners' SELECTs in the snapshot of a reading, and has the registries render what they give."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.errors import QueryCanceled
from psycopg.rows import tuple_row

from omnicdc import db
from omnicdc.errors import DatabaseUnavailable, Interrupted, RegistryError
from omnicdc.model import ALL, Fault
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
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from psycopg import Cursor, ServerCursor

    from omnicdc.db import Connection
    from omnicdc.log.timings import Timings
    from omnicdc.model import Ids, Work
    from omnicdc.registries.projection import Projection
    from omnicdc.registries.scanners import Row
    from omnicdc.stop import Stop

BULK = 1000
"""From here on a batch that names a third of a registry is a full scan, which costs a third as much an entry:
2,500 of 10,000 projects renamed took 107 ms by themselves, all 10,000 took 137."""


@dataclass(frozen=True, slots=True)
class Scanning:
    """What every scan needs besides the connection, which is in the snapshot to be scanned."""

    projections: Mapping[str, Projection]
    """By scanner, in the order of publication."""
    table: str
    """CMP's, with its schema."""
    stop: Stop
    timings: Timings
    observe: Callable[[str], None]
    """Told `scanned NAME` after each."""
    remedy: str = ""
    """What fixes the capture, if it is broken: then a scan that fails does so for the same reason."""


def scan(conn: Connection, work: Work, scanning: Scanning) -> frozenset[str]:
    """Bring the registries up to the connection's snapshot.

    One that cannot be scanned is held, the others go on.

    Returns the names of the scanners that succeeded. Raises DatabaseUnavailable if the table is younger than
    the snapshot.
    """
    projections = {name: it for name, it in scanning.projections.items() if name in work}
    wanted = {name: _wanted(projection, work[name]) for name, projection in projections.items()}
    together = _together(conn, scanning, wanted)
    scanned = frozenset(name for name in wanted if _scanned(conn, scanning, name, wanted[name], together))
    if ALL in wanted.values():
        with scanning.timings("scan"):
            _check_not_rewritten(db.start(conn, "table_rewritten"))
    return scanned


@dataclass(slots=True)
class _Together:
    """What the targeted SELECTs gave in one round trip, by scanner."""

    rows: dict[str, list[Row]]
    error: RegistryError | None = None
    """They took too long: by themselves they would take as long again."""
    took_s: float = 0.0


def _scanned(conn: Connection, scanning: Scanning, name: str, ids: Ids, together: _Together) -> bool:
    """Scan one registry, or hold it; returns whether it was scanned."""
    projection, began = scanning.projections[name], time.monotonic()
    try:
        if ids is ALL:
            _rebuild(conn, projection, scanning)
        else:
            _update(conn, projection, ids, scanning, together)
    except RegistryError as exc:
        took_s = together.took_s if exc is together.error else time.monotonic() - began
        projection.hold.start(Fault(exc.message, scanning.remedy or exc.hint), took_s=took_s)
        projection.scan_due = True
        return False
    projection.scan_due = False
    scanning.observe(f"scanned {name}")
    return True


def _update(
    conn: Connection, projection: Projection, ids: frozenset[str], scanning: Scanning, together: _Together
) -> None:
    """Take what CMP holds of some projects, row by row where the SELECT for all registries at once failed."""
    if together.error:
        raise together.error
    name = projection.scanner.name
    if name in together.rows:
        found: tuple[list[Row], dict[str, str]] = together.rows.pop(name), {}
    else:
        with scanning.timings("scan"):
            found = readable(conn, projection.scanner, scanning.table, ids)
    with scanning.timings("render"):
        projection.dirty |= projection.update(ids, *found)


def _wanted(projection: Projection, ids: Ids) -> Ids:
    """Return which projects to look at, for those that a change named."""
    # What failed before may have missed more than this change: then these ids are not enough.
    if ids is ALL or projection.scan_due:
        return ALL
    return ids if len(ids) <= _most(projection) else ALL


def most_by_name(projections: Iterable[Projection]) -> int:
    """Return how many projects a change may concern to be looked at by name; beyond, everything is."""
    return max(map(_most, projections))


def _most(projection: Projection) -> int:
    return max(BULK, len(projection.document) // 3)


def _together(conn: Connection, scanning: Scanning, wanted: Mapping[str, Ids]) -> _Together:
    """Run the targeted SELECTs in one round trip; no rows if one of them fails: then each is tried by itself.

    Of a table that was made or written anew after the snapshot nothing is seen: so that is asked afterwards,
    as in `scan`.
    """
    by_name = {name: ids for name, ids in wanted.items() if ids is not ALL}
    if not by_name:
        return _Together({})
    began = time.monotonic()
    with scanning.timings("scan"):
        try:
            cursors = _sent(conn, scanning, by_name)
        except NOT_AS_EXPECTED:
            conn.execute("rollback to scan")
            return _Together({})
        except QueryCanceled as exc:
            conn.execute("rollback to scan")
            return _Together({}, too_slow(exc), time.monotonic() - began)
        # By itself: the driver ends a pipeline with a Flush, and a server that gets one while it is idle in a
        # transaction no longer counts for how long. What hangs after this is ended after
        # idle_in_transaction_session_timeout.
        _check_not_rewritten(db.start(conn, "table_rewritten"))
        return _Together({name: cursor.fetchall() for name, cursor in cursors.items()})


def _sent(
    conn: Connection, scanning: Scanning, by_name: Mapping[str, frozenset[str]]
) -> dict[str, Cursor[Row]]:
    cursors = {}
    with conn.pipeline():
        conn.execute("savepoint scan")
        limit(conn)
        for name, ids in by_name.items():
            query = statement(scanning.projections[name].scanner, scanning.table, targeted=True)
            cursors[name] = conn.cursor(row_factory=tuple_row).execute(query, [list(ids)])
    return cursors


def _check_not_rewritten(rewritten: db.Cursor) -> None:
    """Raise DatabaseUnavailable if what was read is not to be believed.

    To an older snapshot the table looks empty.
    """
    if db.single(rewritten)["rewritten"]:
        raise DatabaseUnavailable(
            "CMP's table was written anew while its lock was waited for",
            again=True,
        )


def _rebuild(conn: Connection, projection: Projection, scanning: Scanning) -> None:
    """Have a registry start over from all of CMP, row by row, rendered as they come.

    Raises RegistryError, or Interrupted if a stop is asked for.
    """
    try:
        _rebuild_at_once(conn, projection, scanning)
    except RegistryError as exc:
        if not of_a_row(exc):
            raise
        unreadable: dict[str, str] = {}
        found = search(conn, projection.scanner, scanning.table, ALL, unreadable, stop=scanning.stop)
        with scanning.timings("render"), uncollected():
            projection.rebuild(found, unreadable)
    projection.dirty = True


def _rebuild_at_once(conn: Connection, projection: Projection, scanning: Scanning) -> None:
    query = statement(projection.scanner, scanning.table, targeted=False)
    with (
        scanning.timings("render"),
        explained(conn, projection.scanner, scanning.table),
        uncollected(),
        conn.transaction(),
        # A cursor on the server: what is not rendered yet need not be held here as well.
        conn.cursor("omnicdc_scan", row_factory=tuple_row) as cursor,
    ):
        limit(conn)
        cursor.execute(query)
        projection.rebuild(_fetched(cursor, scanning.stop, scanning.timings))


def _fetched(cursor: ServerCursor[Row], stop: Stop, timings: Timings) -> Iterator[Row]:
    while True:
        if stop.requested:
            raise Interrupted("stopped in the middle of a full scan")
        with timings("scan"):
            rows = cursor.fetchmany(ROWS)
        if not rows:
            return
        yield from rows
