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
    from omnicdc.capture.watch_list import Watch

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Capture:
    """What the database says of the capture."""

    fingerprint: str
    """Differs when the capture may have missed changes."""
    fault: str | None = None
    remedy: str = ""
    trusted: bool = True
    """Whether it has our watch list; if not, every change concerns every scanner."""
    lacking: tuple[str, ...] = ()
    """What our watch list has and the installed one has not."""

    def report(self) -> None:
        """Log what is wrong with it, if anything."""
        if self.fault:
            log.warning("capture_broken", fault=self.fault, hint=self.remedy)
        if not self.trusted:
            log.warning("watch_list_differs", lacking=self.lacking, hint="run `omnicdc install`")


def look_at_capture(conn: db.Connection, watch: Watch) -> Capture:
    """Ask how the capture is, and whether it knows this watch list.

    Raises SchemaMismatch if nothing is captured at all.
    """
    installed = watched(conn)
    lacking = sorted({*watch.fields} - {*installed["watched"]})
    same = tuple(sorted(installed["watched"])) == watch.fields
    return Capture(**db.fetch_one(conn, "capture_fault"), trusted=same, lacking=tuple(lacking))


def watched(conn: db.Connection) -> db.Row:
    """Return which table is watched, and what of it; raises SchemaMismatch if none is."""
    found = db.fetch_optional(conn, "source", {"name": "projects"})
    if found is None:
        db.check_row_security(conn)
        raise SchemaMismatch("no table is watched", hint="run `omnicdc install`")
    return found


def fingerprint(conn: db.Connection) -> str:
    """Return the capture's fingerprint of now.

    `conn` must be outside of a transaction, for in one it may be an old one.
    """
    with db.translated("comparing the capture's fingerprint"):
        return str(db.fetch_one(conn, "fingerprint")["fingerprint"])
