"""Makes a plan: the changes are made in a transaction that is rolled back, between two renderings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import db, verify
from omnicdc.answers.plan.rendering import Rendering
from omnicdc.answers.plan.trial import guard_fault, rolled_back
from omnicdc.capture.watch_list import derive
from omnicdc.clients.migration.conflicts import Host, Obstacle, duplicates, losses
from omnicdc.clients.migration.plans import plan_answer, planned_item, would_be
from omnicdc.clients.migration.rows import read_facts, read_table, read_values, update
from omnicdc.clients.migration.writing import REFUSED, refusals
from omnicdc.db.errors import with_detail
from omnicdc.errors import ConfigError
from omnicdc.formats.item import same
from omnicdc.inputs.parts import InputSettings, peoples_files
from omnicdc.model import Inputs
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables, used

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omnicdc.answers.plan.effect import Effect
    from omnicdc.clients.migration.changes import Change
    from omnicdc.clients.migration.facts import Facts
    from omnicdc.clients.migration.plans import PlanAnswer
    from omnicdc.clients.migration.rows import ProjectTable
    from omnicdc.config.settings import Config

NOT_CHECKED = ("clones", "overrides", "exclusions", "GitHub metadata")
"""What only a registry host's files show."""


def plan(
    conn: db.Connection, config: Config, changes: Sequence[Change], progress: Callable[[str], None]
) -> PlanAnswer:
    """Return the plan.

    Raises MissingProjectsError, ConfigError for a change that cannot be, and DatabaseUnavailable.
    """
    known = registries(config)
    tables = find_tables(conn, config, known.values())
    table = read_table(conn, tables["projects"])
    table.check(changes)
    host = host_of(config)
    inputs = host.inputs if host else Inputs()
    scanners = used(known, tables)
    with refusals(table), rolled_back(conn):
        facts = read_facts(conn, table)
        _check_known(changes, facts)
        before = read_values(conn, table, changes, lock=True)
        kept = [it for it in changes if not same(would_be(before[it.uuid], it), before[it.uuid])]
        fresh = {it.uuid: facts[it.uuid].changed(it.set, it.unset) for it in kept}
        conflicts = [*duplicates(facts, fresh)]
        rendering = Rendering(conn, scanners, tables, derive(scanners.values()), inputs, progress)
        rendered = rendering.before()
        effects: list[Effect] = []
        after = {it.uuid: would_be(before[it.uuid], it) for it in kept}
        if refused := _made(conn, table, kept):
            conflicts.append(refused)
        else:
            after = read_values(conn, table, kept)
            effects = rendering.effects(rendered, rendering.touched())
    lost = [*losses(facts, fresh, host)] if host else []
    lost += _guarded(config, effects)
    items = [planned_item(it, facts[it.uuid], before[it.uuid], after[it.uuid], effects) for it in kept]
    unchanged = [it.uuid for it in changes if it.uuid not in fresh]
    return plan_answer(
        items,
        unchanged,
        conflicts=conflicts,
        losses=lost,
        effects=effects,
        not_checked=() if host else NOT_CHECKED,
    )


def host_of(config: Config) -> Host | None:
    """Return what the files of this host say; None if it is no registry host."""
    if config.root is None:
        return None
    inputs, _ = verify.known_inputs(config)
    overrides, exclusions = peoples_files(InputSettings.of(config))
    return Host(inputs, overrides.read().entries, exclusions.read().entries)


class MissingProjectsError(ConfigError):
    """Projects that are to be changed are not in CMP."""

    def __init__(self, uuids: Sequence[str]) -> None:
        super().__init__(
            f"{len(uuids)} of the projects are not in CMP: {', '.join(uuids[:5])}",
            hint="is their transaction committed?",
        )
        self.uuids = frozenset(uuids)


def _check_known(changes: Sequence[Change], facts: dict[str, Facts]) -> None:
    if missing := [it.uuid for it in changes if it.uuid not in facts]:
        raise MissingProjectsError(missing)


def _made(conn: db.Connection, table: ProjectTable, changes: Sequence[Change]) -> Obstacle | None:
    """Make the changes. If PostgreSQL refuses a value or a row, they are not made; return why."""
    try:
        with conn.transaction():
            update(conn, table, changes)
            db.execute(conn, "check_constraints")
    except REFUSED as exc:
        uuids = tuple(it.uuid for it in changes) if len(changes) == 1 else ()
        hint = exc.diag.message_hint or "change the plan: CMP refuses this"
        return Obstacle("refused", uuids, with_detail(exc), hint)
    return None


def _guarded(config: Config, effects: Sequence[Effect]) -> Iterator[Obstacle]:
    """Yield the registries that the guard would hold."""
    for it in effects:
        if held := guard_fault(config, it.registry, it.before, it.after):
            yield Obstacle("guard", (), held.reason, held.hint, it.registry)
