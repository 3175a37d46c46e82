"""Makes plans: of statements, and of what a rebuild would change. CMP and the files stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from omnicdc import db, verify
from omnicdc.answers.plan.answers import (
    Hold,
    Plan,
    RegistryPlan,
    of_compared,
    of_effect,
    of_reach,
    statement_answer,
)
from omnicdc.answers.plan.reasons import rows_of, why
from omnicdc.answers.plan.rendering import Rendering
from omnicdc.answers.plan.static import Readers, reaches
from omnicdc.answers.plan.trial import ConflictError, count_rows, guard_fault, remains, rolled_back, run
from omnicdc.answers.project import identified
from omnicdc.capture.watch_list import derive
from omnicdc.model import Fault, Inputs
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables, qualified, used
from omnicdc.verify.audit import compare, compare_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from omnicdc.answers.plan.answers import Row
    from omnicdc.answers.plan.effect import Effect, Rendered
    from omnicdc.answers.plan.rendering import Touched
    from omnicdc.answers.plan.statement import Statement
    from omnicdc.config.settings import Config

TRIALS = 3
"""Attempts to run the statements while other sessions change the same rows."""

NOT_CHECKED = ("clones", "overrides", "exclusions", "GitHub metadata")
"""What only a registry host's files show."""

LOOK = "`omnicdc status` says why"


def plan_static(config: Config, statements: Sequence[Statement]) -> Plan:
    """Judge statements by their text alone. Nothing is connected. Raises ConfigError."""
    known = registries(config)
    tables = {source: config.table_of(source) for it in known.values() for source in it.sources}
    found = reaches(statements, Readers(derive(known.values()), known, tables))
    reached = [reach for each in found for reach in each]
    return Plan(
        tuple(of_reach(scanner, reached) for scanner in known.values()),
        tuple(statement_answer(one, each) for one, each in zip(statements, found, strict=True)),
        static=True,
    )


def plan_statements(
    conn: db.Connection,
    config: Config,
    statements: Sequence[Statement],
    *,
    timeout_s: float,
    most: int,
    progress: Callable[[str], None],
) -> Plan:
    """Run statements in a transaction that is rolled back, and return what they would change.

    The plan holds at most `most` rows, and entries of each registry. Each statement may take `timeout_s`
    seconds. Raises ConfigError for what PostgreSQL refuses, DatabaseUnavailable and SchemaMismatch.
    """
    trial = _Trial(conn, config, statements, timeout_s=timeout_s, most=most, progress=progress)
    for _ in range(TRIALS - 1):
        try:
            return trial.plan()
        except ConflictError:
            progress("another session changed the same rows: again")
    return trial.plan()


def plan_rebuild(
    conn: db.Connection, config: Config, *, project: str | None, most: int, progress: Callable[[str], None]
) -> Plan:
    """Return how the files differ from CMP: what a rebuild would change, of one project or of everything.

    Raises ConfigError without registries on this host, and for a name that no project or several have;
    DatabaseUnavailable and SchemaMismatch.
    """
    config.require_output_directory()
    uuid = None
    if project is not None:
        uuid, unknown = identified(conn, config, project)
        if unknown:
            raise unknown
    inputs, inputs_known = verify.known_inputs(config)
    found = compare_all(conn, config, inputs, inputs_known, progress)
    plans = [of_compared(it, uuid, most) for it in found.values()]
    if uuid is None:
        plans = [replace(it, guard=_guard(config, it)) for it in plans]
    plans = _held(conn, plans)
    names = (it.registry.name_of(uuid) for it in found.values()) if uuid else ()
    return Plan(
        tuple(plans),
        not_checked=() if inputs_known else NOT_CHECKED,
        project=(uuid and {"uuid": uuid, "name": next((name for name in names if name), None)}) or None,
    )


class _Trial:
    """What one plan of statements needs; each attempt renders and runs everything anew."""

    def __init__(
        self,
        conn: db.Connection,
        config: Config,
        statements: Sequence[Statement],
        *,
        timeout_s: float,
        most: int,
        progress: Callable[[str], None],
    ) -> None:
        self._conn, self._config, self._statements = conn, config, statements
        self._timeout_s, self._most, self._progress = timeout_s, most, progress
        known = registries(config)
        self._tables = find_tables(conn, config, known.values())
        self._scanners = used(known, self._tables)
        self._watch = derive(self._scanners.values())
        self._inputs, self._inputs_known = (
            (Inputs(), False) if config.root is None else verify.known_inputs(config)
        )
        self._warnings = remains(conn, statements)

    def plan(self) -> Plan:
        """Run the statements once. Raises ConflictError if another session changed the same rows."""
        rendering = Rendering(
            self._conn, self._scanners, self._tables, self._watch, self._inputs, self._progress, self._most
        )
        with db.translated("planning"), rolled_back(self._conn):
            before = rendering.before()
            files = self._compare_files(before)  # no row is locked yet
            emptied = self._rows_before_truncation()
            self._progress("the statements")
            written = run(self._conn, self._statements, self._timeout_s)
            touched = rendering.touched()
            rows = rows_of(touched.changes, emptied)
            names = _names(before, rows[: self._most])
            effects = dict(zip(before, rendering.effects(before, touched), strict=True))
            names = _names(before, rows[: self._most]) | names
        readers = Readers(self._watch, self._scanners, self._tables)
        found = zip(self._statements, reaches(self._statements, readers), written, strict=True)
        return Plan(
            tuple(
                _held(
                    self._conn,
                    [self._registry(name, it, touched, files.get(name)) for name, it in effects.items()],
                )
            ),
            tuple(statement_answer(*each) for each in found),
            tuple(replace(row, name=names.get((row.source, row.key))) for row in rows[: self._most]),
            sum(row.rows for row in rows),
            (*self._warnings, *([f"{touched.fault} - {LOOK}"] if touched.fault else [])),
            () if self._inputs_known else NOT_CHECKED,
        )

    def _rows_before_truncation(self) -> dict[str, int]:
        """Return how many rows each source has, if a statement truncates: CASCADE may empty any of them."""
        if not any(it.operation == "truncate" for one in self._statements for it in one.writes):
            return {}
        return {source: count_rows(self._conn, qualified(table)) for source, table in self._tables.items()}

    def _compare_files(self, rendered: Mapping[str, Rendered]) -> dict[str, str]:
        """Return scanner to how its file compares with CMP as it is now."""
        if self._config.root is None:
            return {}
        root = self._config.require_output_root()
        return {
            name: compare(it.projection, root / it.scanner.path, self._inputs_known).report.status
            for name, it in rendered.items()
            if not it.fault
        }

    def _registry(self, name: str, it: Effect, touched: Touched, file: str | None) -> RegistryPlan:
        reason = why(name, touched.changes, self._watch, changed=it.rewritten) if not touched.fault else ""
        return of_effect(
            self._scanners[name],
            it,
            why=reason,
            guard=guard_fault(self._config, it.registry, it.before, it.after),
            fault=Fault(it.fault, LOOK) if it.fault else None,
            file=file,
        )


def _names(rendered: Mapping[str, Rendered], rows: Iterable[Row]) -> dict[tuple[str, str | None], str]:
    """Return the names of rows, as far as a registry is sorted by them."""
    found: dict[tuple[str, str | None], str] = {}
    for it in rendered.values():
        for row in rows:
            named = row.key is not None and row.source == it.scanner.source
            if named and (name := it.projection.name_of(str(row.key))) is not None:
                found.setdefault((row.source, row.key), name)
    return found


def _held(conn: db.Connection, plans: Iterable[RegistryPlan]) -> list[RegistryPlan]:
    """Return the plans, each with the consumers that hold its registry now."""
    with db.translated("asking what is held"), db.confined(conn):
        rows = db.fetch_all(conn, "holds")
    found: dict[str, list[Hold]] = {}
    for row in rows:
        found.setdefault(row["registry"], []).append(
            Hold(row["consumer"], row["reason"], row["hint"] or "", guard=row["guard"])
        )
    return [replace(it, holds=tuple(found.get(it.registry, ()))) for it in plans]


def _guard(config: Config, it: RegistryPlan) -> Fault | None:
    return guard_fault(config, it.registry, it.difference.found, it.difference.expected, step="rebuild")
