"""Asks whether the capture is sound, and whether its fingerprint is still the same.

It must be the fingerprint at which everything was read. The fingerprint covers what alters CMP's rows without
a write of them (sql/functions/capture_fingerprint.sql). An enum's output follows the newest catalog while the
rows follow an older snapshot, so a scan is good only if the fingerprint was the same before and after it,
each time read outside the scan's own snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from omnicdc import db
from omnicdc.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.capture.watch_list import Watch

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Capture:
    """What the database says of the capture."""

    fingerprint: str
    """Differs when the capture may have missed changes."""
    fault: str | None = None
    remedy: str = ""
    traces: bool = False
    """Whether it logs the trace contexts that writers set."""
    lacking: tuple[str, ...] = ()
    """What our watch list has and the installed one has not: SOURCE.COLUMN, or SOURCE.COLUMN.KEY."""

    @property
    def trusted(self) -> bool:
        """Whether it watches all that our registries read; if not, every change concerns every scanner."""
        return not self.lacking

    def report(self) -> None:
        """Log what is wrong with it, if anything."""
        if self.fault:
            log.error("capture_broken", fault=self.fault, hint=self.remedy)
        if self.lacking:
            log.warning("watch_list_differs", lacking=self.lacking, hint="run `omnicdc install`")


def look_at_capture(conn: db.Connection, watch: Watch) -> Capture:
    """Ask how the capture is, and whether it knows this watch list.

    Raises SchemaMismatch if nothing is captured at all.
    """
    watched = {name: captured_fields(row) for name, row in installed_sources(conn).items()}
    lacking = (
        f"{source}.{field}"
        for source in watch.sources
        for field in watch.fields_of(source)
        if field not in watched.get(source, ())
    )
    return Capture(**db.fetch_one(conn, "capture"), lacking=tuple(lacking))


def captured_fields(source: db.Row) -> frozenset[str]:
    """Return the fields of a source whose changes are logged: what is watched, and the key."""
    return frozenset((*source["watched"], source["key_column"]))


def installed_sources(conn: db.Connection) -> Mapping[str, db.Row]:
    """Return source to its table and what is watched of it; raises SchemaMismatch if nothing is captured."""
    found = {row["name"]: row for row in db.fetch_all(conn, "sources")}
    if not found:
        db.check_row_security(conn)
        raise SchemaMismatch("no table is watched", hint="run `omnicdc install`")
    return found


def fingerprint(conn: db.Connection) -> str:
    """Return the capture's fingerprint of now.

    `conn` must be outside of a transaction, for in one it may be an old one.
    """
    with db.translated("comparing the capture's fingerprint"):
        return str(db.fetch_one(conn, "fingerprint")["fingerprint"])
