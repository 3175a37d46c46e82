"""Reads everything that is known of one project: CMP, the log, the consumers, and the files of this host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.explain.answers import (
    consumer_explanations,
    holds_here,
    on_its_way,
    registry_explanations,
)
from omnicdc.answers.explain.changes import change_explanations
from omnicdc.answers.explain.places import Places
from omnicdc.answers.log.question import SEARCH
from omnicdc.answers.project import identified
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables
from omnicdc.verify.project import examine_project, known_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from omnicdc.answers.explain.answers import ConsumerExplanation, Explanation, RegistryExplanation
    from omnicdc.answers.explain.changes import ChangeExplanation
    from omnicdc.config.settings import Config
    from omnicdc.model import Inputs
    from omnicdc.registries.tables import Tables
    from omnicdc.verify.report import Report

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
    if config.root is None:
        logged = _read_log(conn, uuid, {scanner.source for scanner in known.values()})
        names = [scanner.registry for scanner in known.values()]
        return _explanation(uuid, None, [], logged, names)
    inputs, inputs_known = known_inputs(config)
    report, expected = examine_project(conn, config, inputs, inputs_known, uuid)
    if unknown and not report.in_cmp:
        raise unknown
    logged = _read_log(conn, uuid, {check.scanner.source for check in report.checks})
    places = _places(config, inputs, find_tables(conn, config, known.values()))
    holds = holds_here(logged.consumers, config.consumer, str(config.require_output_root()))
    on_this_host = registry_explanations(report, expected, places, holds)
    return _explanation(uuid, report, on_this_host, logged, [one["registry"] for one in on_this_host])


@dataclass(frozen=True, slots=True)
class _Logged:
    consumers: list[ConsumerExplanation]
    changes: list[ChangeExplanation]
    searched_back_to: str | None


def _read_log(conn: db.Connection, uuid: str, sources: Iterable[str]) -> _Logged:
    asked = {"sources": sorted(sources), "key": uuid, "most": LAST, "search": SEARCH}
    with db.translated("reading the log"), db.confined(conn):
        consumers = consumer_explanations(db.fetch_all(conn, "hosts", asked))
        changes = change_explanations(db.fetch_all(conn, "changes_of", asked))
        reach = db.fetch_optional(conn, "log_reach", asked) if len(changes) < LAST else None
    return _Logged(consumers, changes, reach["at"].isoformat() if reach else None)


def _explanation(
    uuid: str,
    report: Report | None,
    on_this_host: list[RegistryExplanation],
    logged: _Logged,
    concerned: list[str],
) -> Explanation:
    """Return the answer. `report` is None if the registries are not on this host."""
    return {
        "success": True,
        "error": None,
        "hint": "",
        "uuid": uuid,
        "name": report.name if report else None,
        "in_cmp": report.in_cmp if report else None,
        "verified": report.verified if report else None,
        "registries": on_this_host,
        "on_its_way": on_its_way(logged.consumers, concerned),
        "consumers": logged.consumers,
        "changes": logged.changes,
        "changes_searched_back_to": logged.searched_back_to,
        "not_checked": [] if report else [*concerned],
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
