"""Reads everything that is known of one project: CMP, the log, the consumers, and the files of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.explain.answers import (
    change_explanations,
    consumer_explanations,
    on_its_way,
    registry_explanations,
)
from omnicdc.answers.explain.places import Places
from omnicdc.answers.log.question import SEARCH
from omnicdc.answers.project import identified
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables
from omnicdc.verify.project import examine_project, known_inputs

if TYPE_CHECKING:
    from omnicdc.answers.explain.answers import Explanation, RegistryExplanation
    from omnicdc.config.settings import Config
    from omnicdc.model import Inputs
    from omnicdc.registries.tables import Tables

LAST = 10
"""So many changes are shown, the newest first."""


def explain(conn: db.Connection, config: Config, project: str) -> Explanation:
    """Explain a project, by UUID, name, or CMP's key; or the row of another table, by its key.

    Nothing is written. Raises ConfigError for a name that no project or several have, for settings that are
    not valid, and DatabaseUnavailable.
    """
    known = registries(config)
    uuid, unknown = identified(conn, config, project)
    if unknown and (config.root is None or all(scanner.builtin for scanner in known.values())):
        raise unknown
    on_this_host: list[RegistryExplanation] = []
    name, in_cmp, verified = None, None, None
    sources = {scanner.source for scanner in known.values()}
    if config.root is not None:
        inputs, inputs_known = known_inputs(config)
        report, expected = examine_project(conn, config, inputs, inputs_known, uuid)
        if unknown and not report.in_cmp:
            raise unknown
        places = _places(config, inputs, find_tables(conn, config, known.values()))
        on_this_host = registry_explanations(report, expected, places)
        name, in_cmp, verified = report.name, report.in_cmp, report.verified
        sources = {check.scanner.source for check in report.checks}
    concerned = {one["registry"] for one in on_this_host} or {it.registry for it in known.values()}
    with db.translated("reading the log"), db.confined(conn):
        asked = {"sources": sorted(sources), "key": uuid, "most": LAST, "search": SEARCH}
        consumers = consumer_explanations(db.fetch_all(conn, "hosts", asked))
        changes = change_explanations(db.fetch_all(conn, "changes_of", asked))
        reach = None
        if len(changes) < LAST:
            reach = db.fetch_optional(conn, "log_reach", asked)
    return {
        "success": True,
        "error": None,
        "hint": "",
        "uuid": uuid,
        "name": name,
        "in_cmp": in_cmp,
        "verified": verified,
        "registries": on_this_host,
        "on_its_way": on_its_way(consumers, concerned),
        "consumers": consumers,
        "changes": changes,
        "changes_searched_back_to": reach["at"].isoformat() if reach else None,
        "not_checked": [] if config.root is not None else [it.registry for it in known.values()],
    }


def _places(config: Config, inputs: Inputs, tables: Tables) -> Places:
    # Imported here, because a caller that has no registries does not need these modules.
    from omnicdc.inputs import github  # noqa: PLC0415
    from omnicdc.inputs.parts import InputSettings, peoples_files  # noqa: PLC0415

    settings = InputSettings.of(config)
    overrides, exclusions = peoples_files(settings)
    return Places(
        config.require_output_root(),
        tables,
        inputs,
        overrides.read().entries,
        exclusions.read().entries,
        github.load(settings.state_dir).keys(),
    )
