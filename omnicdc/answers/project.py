"""Finds the project that a user named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.delivery import wait as waits
from omnicdc.errors import ConfigError
from omnicdc.formats.text import is_unicode
from omnicdc.verify.expectation import is_uuid

if TYPE_CHECKING:
    from omnicdc import db
    from omnicdc.config.settings import Config


def identified(conn: db.Connection, config: Config, project: str) -> tuple[str, ConfigError | None]:
    """Return the id of a project given by UUID, name, or CMP's key.

    If no project has the name, return it with the error: another table may have the key. Raises ConfigError
    if several projects have it, and DatabaseUnavailable.
    """
    if not is_unicode(project) or "\0" in project:
        raise ConfigError(f"no project in CMP can be named {project!r:.100}")
    if is_uuid(project):
        return project.strip().lower(), None
    try:
        found = waits.projects_named(conn, config, [project])
    except ConfigError as exc:
        return project, exc
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} projects are named {project!r}: {', '.join(sorted(found)[:5])}",
            hint="give the UUID",
        )
    return found[0], None
