"""Runs the scanners' SELECTs in the snapshot of a reading, and gives the rows to the projections."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg.errors import QueryCanceled
from psycopg.rows import tuple_row

from omnicdc import db
from omnicdc.errors import DatabaseUnavailable, Interrupted, RegistryError
from omnicdc.model import ALL, Fault
from omnicdc.registries.gc_pause import without_garbage_collection
from omnicdc.registries.rows import (
    NOT_AS_EXPECTED,
    ROWS,
    keys,
    limit,
    may_be_one_row,
    readable,
    search,
    select_errors,
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
    from omnicdc.registries.tables import Tables
    from omnicdc.stop import Stop

BULK = 1000
"""A batch of more projects than this, and than a third of the registry, becomes a full scan, which needs a
third of the time for each entry: 2,500 of 10,000 projects took 107 ms by name, all 10,000 took 137 ms."""


@dataclass(frozen=True, slots=True)
class Scanning:
    """The arguments of a scan, besides the connection, which has the snapshot."""

    projections: Mapping[str, Projection]
    """Scanner to projection, in the order of publication."""
    tables: Tables
    """Source to the full name of its table."""
    stop: Stop
    timings: Timings
    observe: Callable[[str], None]
    """Called with `scanned NAME` after each registry."""
    broken: Mapping[str, Fault] = field(default_factory=dict)
    """Scanner to the reason why it cannot be scanned."""
    remedy: str = ""
    """The command that fixes a fault of the capture, which is then also the cause of a scan's failure."""


def scan(conn: Connection, work: Work, scanning: Scanning) -> frozenset[str]:
    """Update the projections to the connection's snapshot. Return the scanners that succeeded.

    A registry that cannot be scanned is held; the others are scanned. Raises DatabaseUnavailable if the table
    was created or rewritten after the snapshot.
    """
    projections = {name: it for name, it in scanning.projections.items() if name in work}
    wanted = {name: _ids_to_scan(projection, work[name]) for name, projection in projections.items()}
    sound = {name: ids for name, ids in wanted.items() if name not in scanning.broken}
    targeted = _run_targeted(conn, scanning, sound)
    scanned = frozenset(
        name for name in wanted if _scan_or_hold(conn, scanning, name, wanted[name], targeted)
    )
    if ALL in wanted.values():
        with scanning.timings("scan"):
            _check_not_rewritten(db.start(conn, "table_rewritten"))
    return scanned


@dataclass(slots=True)
class _TargetedRows:
    """The result of the targeted SELECTs, which are sent in one round trip."""

    rows: dict[str, list[Row]]
    """Scanner to rows."""
    error: RegistryError | None = None
    """Set if the SELECTs took too long. They are not run one by one: that would take as long again."""
    took_s: float = 0.0


def _scan_or_hold(conn: Connection, scanning: Scanning, name: str, ids: Ids, targeted: _TargetedRows) -> bool:
    """Scan one registry. If that fails, hold it and return False."""
    projection, began = scanning.projections[name], time.monotonic()
    if broken := scanning.broken.get(name):
        projection.hold.start(broken)
        projection.mark_scan_failed()
        return False
    try:
        if ids is ALL:
            _rebuild(conn, projection, scanning)
        else:
            _update(conn, projection, ids, scanning, targeted)
    except RegistryError as exc:
        took_s = targeted.took_s if exc is targeted.error else time.monotonic() - began
        projection.hold.start(Fault(exc.message, scanning.remedy or exc.hint), took_s=took_s)
        projection.mark_scan_failed()
        return False
    projection.mark_scanned(full_scan_s=time.monotonic() - began if ids is ALL else None)
    scanning.observe(f"scanned {name}")
    return True


def _update(
    conn: Connection, projection: Projection, ids: frozenset[str], scanning: Scanning, targeted: _TargetedRows
) -> None:
    """Update some projects. If the common round trip failed, this registry's SELECT runs alone."""
    if targeted.error:
        raise targeted.error
    name = projection.scanner.name
    if name in targeted.rows:
        found: tuple[list[Row], dict[str, str]] = targeted.rows.pop(name), {}
    else:
        with scanning.timings("scan"):
            found = readable(conn, projection.scanner, scanning.tables, ids)
    with scanning.timings("render"):
        projection.dirty |= projection.update(ids, *found)


def _ids_to_scan(projection: Projection, ids: Ids) -> Ids:
    """Return the projects to scan if the changes name `ids`; ALL if a full scan is due or quicker."""
    # A scan that failed before may have missed more projects than these.
    if ids is ALL or projection.scan_due or not projection.scanner.targeted:
        return ALL
    return ids if len(ids) <= _max_by_name(projection) else ALL


def most_by_name(projections: Iterable[Projection]) -> int:
    """Return the largest number of projects that is scanned by name. More projects cause a full scan."""
    return max(map(_max_by_name, projections))


def _max_by_name(projection: Projection) -> int:
    return max(BULK, len(projection.document) // 3)


def _run_targeted(conn: Connection, scanning: Scanning, wanted: Mapping[str, Ids]) -> _TargetedRows:
    """Run the targeted SELECTs in one round trip. If one fails, return no rows: then each is run alone.

    A table that was created or rewritten after the snapshot looks empty, so this is checked afterwards, as in
    `scan`.
    """
    by_name = {name: ids for name, ids in wanted.items() if ids is not ALL}
    if not by_name:
        return _TargetedRows({})
    began = time.monotonic()
    with scanning.timings("scan"):
        try:
            cursors = _send_targeted(conn, scanning, by_name)
        except NOT_AS_EXPECTED:
            conn.execute("rollback to scan")
            return _TargetedRows({})
        except QueryCanceled as exc:
            conn.execute("rollback to scan")
            return _TargetedRows({}, too_slow(exc), time.monotonic() - began)
        # This statement is outside the pipeline. The driver ends a pipeline with a Flush; after a Flush the
        # server no longer measures its idle time in the transaction. This statement makes
        # idle_in_transaction_session_timeout work again.
        _check_not_rewritten(db.start(conn, "table_rewritten"))
        return _TargetedRows({name: cursor.fetchall() for name, cursor in cursors.items()})


def _send_targeted(
    conn: Connection, scanning: Scanning, by_name: Mapping[str, frozenset[str]]
) -> dict[str, Cursor[Row]]:
    cursors = {}
    with conn.pipeline():
        conn.execute("savepoint scan")
        limit(conn)
        for name, ids in by_name.items():
            query = statement(scanning.projections[name].scanner, scanning.tables, targeted=True)
            cursors[name] = conn.cursor(row_factory=tuple_row).execute(query, [keys(ids)])
    return cursors


def _check_not_rewritten(rewritten: db.Cursor) -> None:
    """Raise DatabaseUnavailable if the table was rewritten after the snapshot.

    The table then looks empty in that snapshot.
    """
    if db.single(rewritten)["rewritten"]:
        raise DatabaseUnavailable(
            "CMP's table was written anew while its lock was waited for",
            again=True,
        )


def _rebuild(conn: Connection, projection: Projection, scanning: Scanning) -> None:
    """Replace a projection's content by all rows of CMP. Each row is rendered when it is fetched.

    Raises RegistryError, or Interrupted if a stop is requested.
    """
    try:
        _rebuild_in_one_select(conn, projection, scanning)
    except RegistryError as exc:
        if not (may_be_one_row(exc) and projection.scanner.targeted):
            raise
        unreadable: dict[str, str] = {}
        found = search(conn, projection.scanner, scanning.tables, ALL, unreadable, stop=scanning.stop)
        with scanning.timings("render"), without_garbage_collection():
            projection.rebuild(found, unreadable)
    projection.dirty = True


def _rebuild_in_one_select(conn: Connection, projection: Projection, scanning: Scanning) -> None:
    query = statement(projection.scanner, scanning.tables, targeted=False)
    with (
        scanning.timings("render"),
        select_errors(conn, projection.scanner, scanning.tables),
        without_garbage_collection(),
        conn.transaction(),
        # A cursor on the server, so that rows that are not rendered yet use no memory here.
        conn.cursor("omnicdc_scan", row_factory=tuple_row) as cursor,
    ):
        limit(conn)
        cursor.execute(query, ())
        projection.rebuild(_fetch_rows(cursor, scanning.stop, scanning.timings))


def _fetch_rows(cursor: ServerCursor[Row], stop: Stop, timings: Timings) -> Iterator[Row]:
    while True:
        if stop.requested:
            raise Interrupted("stopped in the middle of a full scan")
        with timings("scan"):
            rows = cursor.fetchmany(ROWS)
        if not rows:
            return
        yield from rows
