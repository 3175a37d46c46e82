"""What `omnicdc log` is asked: everything, a project (or the row of another table), or a registry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from omnicdc import db
from omnicdc.answers.project import identified
from omnicdc.errors import ConfigError
from omnicdc.registries.catalog import registries

if TYPE_CHECKING:
    from datetime import datetime

    from omnicdc.config.settings import Config

SEARCH = 500_000
"""So many rows of the log are read at most. It has no index on the key: every writer would pay."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the log."""

    of: Literal["all", "project", "registry"] = "all"
    name: str | None = None
    """The registry, or the project as it was given."""
    key: str | None = None
    """The project's UUID, or the key of another table's row."""
    sources: tuple[str, ...] = ()
    """The sources that may have the key."""
    consumer: str | None = None
    """Only what concerns this consumer."""
    since: datetime | None = None
    """Only what was written, or published, from this time on."""
    most: int = 50
    """So many transactions or generations at most."""
    search: int = SEARCH
    table: str = "projects"
    """CMP's table of projects, as the configuration names it: for the projects' names."""


def question(conn: db.Connection, config: Config, subject: str | None, limits: Question) -> Question:
    """Return the question about a subject: a registry by the name of its file or scanner, else a project.

    `limits` holds everything but the subject. Raises ConfigError for a subject or a consumer that does not
    exist, and DatabaseUnavailable.
    """
    with db.translated("reading the log"), db.confined(conn):
        known = db.fetch_all(conn, "log_registries")
        names = [row["name"] for row in db.fetch_all(conn, "consumer_names")]
    if limits.consumer is not None and limits.consumer not in names:
        raise ConfigError(
            f"no consumer is named {limits.consumer!r}; known: {', '.join(names[:20]) or 'none'}",
            hint="`omnicdc consumer list`",
        )
    asked = replace(limits, table=config.table_of("projects") or "projects")
    if subject is None:
        return asked
    for row in known:
        if subject in (row["registry"], row["scanner"]):
            return replace(asked, of="registry", name=row["registry"])
    key, unknown = identified(conn, config, subject)
    scanners = registries(config).values()
    if unknown and all(scanner.builtin for scanner in scanners):
        found = ", ".join(row["registry"] for row in known) or "none yet"
        raise ConfigError(f"{unknown.message}; and no registry is (known: {found})", hint=unknown.hint)
    sources = tuple(sorted({source for scanner in scanners for source in scanner.sources}))
    return replace(asked, of="project", name=subject, key=key, sources=sources)
