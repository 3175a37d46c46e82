"""Asks whether the log records who wrote each change: the operator's choice, and what the triggers do."""

from __future__ import annotations

from dataclasses import dataclass

from omnicdc import db

CHOICES = {True: "on", False: "off", None: ""}
"""What the database calls a choice of the operator; '' keeps the one made before."""

REVISION = 2
"""Schemas before this revision cannot record writers."""


@dataclass(frozen=True, slots=True)
class WritersRecorded:
    """Whether writers are recorded."""

    chosen: bool = False
    """What the operator chose by `omnicdc install --record-writers`."""
    recorded: bool = False
    """Whether the trigger functions of every source do so."""

    @property
    def fault(self) -> str | None:
        """What is wrong, and the command that fixes it; None if the triggers do what was chosen."""
        if self.chosen == self.recorded:
            return None
        state = (
            "not recorded by every trigger" if self.chosen else "recorded by a trigger although that is off"
        )
        return f"writers are {state}: an older omnicdc was installed over this one - run `omnicdc install`"


def writers_recorded(conn: db.Connection) -> WritersRecorded:
    """Return whether writers are recorded, on schemas of every revision. Raises DatabaseUnavailable."""
    if db.schema_revision(conn) < REVISION:
        return WritersRecorded()
    with db.translated("asking whether writers are recorded"):
        return WritersRecorded(**db.fetch_one(conn, "writers_recorded"))
