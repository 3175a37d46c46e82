"""Reads what the pages show from the database and from this host's files. `views` decides how to show it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.cli.ui.chart import WINDOW_S
from omnicdc.db import sql
from omnicdc.registries.tables import qualified, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omnicdc.config.settings import Config

NEWEST = 300
"""So many generations are read at once."""

LISTED = 20
"""So many generations are listed, however old they are."""

KEPT = 5000
"""The largest number of generations in memory. The chart needs those of its ten minutes."""

FOUND = 50
"""So many projects are listed as the result of a search."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of the estate at one moment."""

    status: Mapping[str, Any]
    """The answer of `omnicdc status`."""
    generations: tuple[Mapping[str, Any], ...]
    """The newest generations of all consumers, the newest first."""
    at: datetime

    @property
    def mark(self) -> str:
        """A text that changes with each generation of any consumer."""
        return " ".join(str(one["generation"]) for one in self.status["consumers"])

    def after(self, before: Reading | None) -> Reading:
        """Return it with the generations that only an earlier reading has, as far as the chart needs them."""
        if before is None:
            return self
        oldest = self.at - timedelta(seconds=WINDOW_S)
        return replace(self, generations=_merged([*self.generations, *before.generations], oldest))


def _merged(rows: Iterable[Mapping[str, Any]], oldest: datetime) -> tuple[Mapping[str, Any], ...]:
    newest = sorted({row["id"]: row for row in rows}.items(), reverse=True)[:KEPT]
    return tuple(row for number, (_, row) in enumerate(newest) if number < NEWEST or row["at"] > oldest)


def read(conn: db.Connection, config: Config) -> Reading:
    """Read the estate. Nothing is written. Raises DatabaseUnavailable and SchemaMismatch."""
    found = status(conn, max_lag_s=config.max_lag_s)
    with db.translated("reading the generations"), db.confined(conn):
        generations = db.fetch_all(conn, "newest_generations", {"most": NEWEST})
    return Reading(found, tuple(generations), datetime.now(UTC))


def search(conn: db.Connection, config: Config, text: str) -> list[db.Row]:
    """Return the projects whose name or key contains a text: at most FOUND and one more.

    Raises DatabaseUnavailable, and SchemaMismatch if the role may not read the projects.
    """
    name = config.table_of("projects")
    with db.translated("searching for projects"):
        table = resolve(conn, name) or name
        with db.confined(conn):
            db.execute(conn, "refuse_policies")
            query = pgsql.SQL(sql.query("search_projects")).format(table=qualified(table))
            return conn.execute(query, {"text": text, "most": FOUND + 1}).fetchall()
