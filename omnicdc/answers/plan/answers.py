"""A plan as commands and programs get it: for each registry what would change and why. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from omnicdc.model import Fault
from omnicdc.verify.difference import RegistryDifference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omnicdc.answers.plan.effect import Effect
    from omnicdc.answers.plan.statement import Statement
    from omnicdc.answers.plan.static import Reach
    from omnicdc.registries.scanner import Scanner
    from omnicdc.verify.audit import Compared
    from omnicdc.verify.difference import EntryDifference, Side


@dataclass(frozen=True, slots=True)
class Hold:
    """A registry that a consumer holds now."""

    consumer: str
    reason: str
    hint: str
    guard: bool
    """Whether the guard holds it."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"consumer": self.consumer, "reason": self.reason, "hint": self.hint, "guard": self.guard}


@dataclass(frozen=True, slots=True)
class Row:
    """One row that statements change, as the log names it; or all rows of a table."""

    source: str
    key: str | None
    """None: every row."""
    operations: tuple[str, ...]
    fields: tuple[str, ...] | None
    """The watched fields that change; None for all of them."""
    name: str | None = None
    rows: int = 1
    """The number of rows that it stands for."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        fields = None if self.fields is None else list(self.fields)
        return {
            "source": self.source,
            "key": self.key,
            "name": self.name,
            "operations": list(self.operations),
            "fields": fields,
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True)
class RegistryPlan:
    """What would change in one registry."""

    scanner: Scanner
    difference: RegistryDifference
    """The file as it would be, with at most so many entries as were asked for, compared with how it is."""
    changed: int = 0
    added: int = 0
    removed: int = 0
    why: str = ""
    """Why it would change, or not."""
    guard: Fault | None = None
    """Why it would be held instead of written."""
    fault: Fault | None = None
    """Why this is not known."""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    """Projects that would be held back, to the reason."""
    released: tuple[str, ...] = ()
    """Projects that are held back now, and would be so no longer."""
    held: Mapping[str, str] = field(default_factory=dict)
    """Projects that are held back, and would be so after a rebuild."""
    file: str | None = None
    """How the file compares with CMP as it is now; None where the registries are not on this host."""
    holds: tuple[Hold, ...] = ()
    """The consumers that hold this registry now: they write nothing there, whatever CMP has."""

    @property
    def registry(self) -> str:
        """The file's name."""
        return self.scanner.registry

    @property
    def changes(self) -> bool:
        """True if the file would change, or something would be held back or released."""
        return self.difference.rewritten or bool(self.quarantined or self.released)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        fault = self.fault and {"reason": self.fault.reason, "hint": self.fault.hint}
        guard = self.guard and {"reason": self.guard.reason, "hint": self.guard.hint}
        return {
            "scanner": self.scanner.name,
            "path": self.scanner.path,
            "why": self.why,
            "before": self.difference.found,
            "after": self.difference.expected,
            "changed": self.changed,
            "added": self.added,
            "removed": self.removed,
            "rewritten": self.difference.rewritten,
            "header": {
                name: {"before": found, "after": expected}
                for name, (expected, found) in self.difference.header.items()
            },
            "entries": [_entry(each) for each in self.difference.entries],
            "guard": guard,
            "quarantined": dict(self.quarantined),
            "released": list(self.released),
            "held": dict(self.held),
            "holds": [it.as_dict() for it in self.holds],
            "fault": fault,
            "file": self.file,
        }

    def as_static_dict(self) -> dict[str, Any]:
        """Return it for JSON, where only the statements' text is known."""
        return {
            "scanner": self.scanner.name,
            "path": self.scanner.path,
            "why": self.why,
            "rewritten": None if self.changes else False,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What would change in the registries, and by what."""

    registries: tuple[RegistryPlan, ...] = ()
    statements: tuple[dict[str, Any], ...] = ()
    rows: tuple[Row, ...] = ()
    """The first of the rows of CMP that would change and are watched."""
    total_rows: int = 0
    warnings: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    """The inputs that are not known here."""
    project: Mapping[str, str | None] | None = None
    static: bool = False

    @property
    def would_change(self) -> tuple[RegistryPlan, ...]:
        """The registries that would change, or hold something back that they do not hold back now."""
        return tuple(it for it in self.registries if it.changes)

    @property
    def changes_nothing(self) -> bool:
        """True if it is certain that no registry would change."""
        return not self.would_change and all(it.fault is None for it in self.registries)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "dry_run": True,
            "static": self.static,
            "project": self.project,
            "statements": list(self.statements),
            "rows": {"count": self.total_rows, "first": [row.as_dict() for row in self.rows]},
            "would_change": [it.registry for it in self.would_change],
            "registries": {
                it.registry: it.as_static_dict() if self.static else it.as_dict() for it in self.registries
            },
            "warnings": list(self.warnings),
            "not_checked": list(self.not_checked),
        }


def statement_answer(one: Statement, reaches: Iterable[Reach], written: int | None = None) -> dict[str, Any]:
    """Return one statement for JSON: what it writes, and how many rows, where that is known."""
    return {
        "command": one.command,
        "place": str(one.place),
        "rows": written,
        "writes": [it.as_dict() for it in reaches],
    }


def of_effect(
    scanner: Scanner, effect: Effect, *, why: str, guard: Fault | None, fault: Fault | None, file: str | None
) -> RegistryPlan:
    """Return what statements would change in a registry."""
    return RegistryPlan(
        scanner,
        effect.difference,
        len(effect.changed),
        len(effect.added),
        len(effect.removed),
        why,
        guard,
        fault,
        effect.quarantined,
        effect.released,
        file=file,
    )


def of_compared(it: Compared, project: str | None, most: int) -> RegistryPlan:
    """Return what a rebuild would change in a registry; with a project, only of its entries."""
    report, projection = it.report, it.registry
    found = report.difference
    if found is None:
        blank = RegistryDifference(report.registry, 0, 0)
        return RegistryPlan(
            projection.scanner, blank, fault=Fault(report.detail, report.hint), file="unreadable"
        )
    held = projection.quarantined_projects()
    if project is not None:
        key = projection.entry_key_of(project)
        entries = tuple(one for one in found.entries if one.entry_key == key or project in _projects(one))
        found = replace(found, entries=entries, header={}, rewritten=bool(entries))
        held = {one: reason for one, reason in held.items() if one == project}
    return RegistryPlan(
        projection.scanner,
        replace(found, entries=found.entries[:most]),
        len(found.changed),
        len(found.added),
        len(found.removed),
        why=report.detail,
        fault=found.fault,
        held=dict(held),
        file=report.status if it.present else "missing",
    )


def of_reach(scanner: Scanner, reached: Iterable[Reach]) -> RegistryPlan:
    """Return whether statements can change a registry, by their text."""
    concerned = [it for it in reached if scanner.registry in it.registries]
    fields = dict.fromkeys(name for it in concerned for name in it.watched or [it.write.operation])
    why = ", ".join(fields)
    return RegistryPlan(
        scanner, RegistryDifference(scanner.registry, 0, 0, rewritten=bool(concerned)), why=why
    )


def _projects(one: EntryDifference) -> set[str]:
    return {project for side in (one.expected, one.found) if side for project in side.item.projects}


def _entry(each: EntryDifference) -> dict[str, Any]:
    before, after = _fields(each.found), _fields(each.expected)
    return {"key": each.entry_key, "name": each.name, "before": before, "after": after}


def _fields(side: Side | None) -> dict[str, Any] | None:
    return None if side is None else dict(side.item.fields)
