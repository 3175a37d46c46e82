"""Computes what a propagation or a rebuild would change in the files of this host, without a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import verify
from omnicdc.clients import answers
from omnicdc.delivery import wait as waits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc import db
    from omnicdc.clients.answers import Outcome
    from omnicdc.config.settings import Config
    from omnicdc.model import Inputs


def would_change(
    conn: db.Connection, config: Config, inputs: tuple[Inputs, bool], names: Sequence[str] | None
) -> Outcome:
    """Return the outcome for the projects with these names; with None, what a full rebuild would change.

    Raises ConfigError for an unknown name, DatabaseUnavailable and SchemaMismatch.
    """
    if names is None:
        found = verify.verify_all(conn, config, *inputs).as_dry_run()
        return answers.would(found["registries_updated"], found["details"], found["results"])
    ids = waits.projects_named(conn, config, names)
    reports = verify.verify_projects(conn, config, *inputs, ids)
    stale = dict.fromkeys(name for report in reports for name in report.stale_registries())
    order = [name for name in verify.registry_names(config).values() if name in stale]
    return answers.would(order, [report.as_dict() for report in reports], {})
