"""What the tests capture: the source `projects`, with what omnicdc's own registries read of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.capture.install import Wanted, wanted
from omnicdc.capture.watch_list import derive
from omnicdc.registries.catalog import registries
from omnicdc.registries.scanners import scanners
from omnicdc.registries.tables import used

if TYPE_CHECKING:
    from omnicdc.config.settings import Config

TABLES = {"projects": "projects"}
"""The tables of a CMP that has no table `agents`, as in most tests."""

SCANNERS = used(scanners(), TABLES)
"""The scanners of such a CMP."""

WATCH = derive(scanners().values())

WATCHED = WATCH.fields_of("projects")
"""The watched columns of the source `projects`."""


def installed(config: Config) -> tuple[Wanted, ...]:
    """Return what `omnicdc install` captures with this configuration."""
    return wanted(config, registries(config).values())


def projects(table: str = "projects", watched: tuple[str, ...] = WATCHED) -> tuple[Wanted, ...]:
    """Return the source `projects`, for an installation."""
    return (Wanted("projects", table, watched, "id", for_clients=watched, required=True),)
