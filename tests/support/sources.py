"""What the tests capture: the source `projects`, with what omnicdc's own registries read of it."""

from __future__ import annotations

from omnicdc.capture.install import Wanted
from omnicdc.capture.watch_list import derive
from omnicdc.registries.scanners import scanners
from omnicdc.registries.tables import used

TABLES = {"projects": "projects"}
"""The tables of a CMP that has no table `agents`, as in most tests."""

SCANNERS = used(scanners(), TABLES)
"""The scanners of such a CMP."""

WATCH = derive(scanners().values())

WATCHED = WATCH.fields_of("projects")
"""The watched columns of the source `projects`."""


def projects(table: str = "projects", watched: tuple[str, ...] = WATCHED) -> tuple[Wanted, ...]:
    """Return the source `projects`, for an installation."""
    return (Wanted("projects", table, watched, "id", for_clients=watched),)
