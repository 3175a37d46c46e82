"""The answers of `verify` and `audit`, and their JSON, which is a contract (docs/client.md)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from omnicdc.registries.scanner import Scanner
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from omnicdc.formats.item import Differences
    from omnicdc.model import Fault
    from omnicdc.verify.difference import EntryDifference, RegistryDifference

Status = Literal["current", "missing", "stale", "unexpected", "unreadable", "not_expected"]

RIGHT: tuple[Status, ...] = ("current", "not_expected")
"""The registry has the right entry, or rightly has none."""

WAIT = "`omnicdc wait`, then look again; if it lasts, `omnicdc status` tells why"

MAX_LISTED = 20
"""At most so many entries of each kind are listed; the others are counted."""


def _with_hold(detail: str, hint: str, hold: Fault | None) -> tuple[str, str]:
    """Return detail and hint of a difference. That of a held registry does not go away by waiting."""
    if hold is None or hint != WAIT:
        return detail, hint
    return f"{detail}; the registry is held: {hold.reason}".removeprefix("; "), hold.hint


@dataclass(frozen=True, slots=True)
class Check:
    """The result for one project in one registry."""

    scanner: Scanner
    status: Status
    detail: str = ""
    hint: str = ""
    differences: Differences = field(default_factory=dict)
    not_compared: tuple[str, ...] = ()
    """Fields that depend on inputs which cannot be read here."""

    @property
    def registry(self) -> str:
        """The file's name."""
        return self.scanner.registry

    @property
    def right(self) -> bool:
        """True if the registry has the right entry, or rightly has none."""
        return self.status in RIGHT

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        differences = {name: {"expected": a, "found": b} for name, (a, b) in self.differences.items()}
        return {
            "registry": self.registry,
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint,
            "differences": differences,
            "not_compared": list(self.not_compared),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The result for one project in all registries."""

    uuid: str
    name: str | None
    in_cmp: bool | None
    """None if CMP could not be read."""
    checks: tuple[Check, ...]

    @property
    def verified(self) -> bool:
        """True if every registry is right about the project: it has the right entry, or rightly has none.

        False if the project is not in CMP.
        """
        return self.in_cmp is not False and all(check.right for check in self.checks)

    def with_holds(self, holds: Mapping[str, Fault]) -> Report:
        """Return it with the reasons for which registries are held, by registry."""
        checks = []
        for it in self.checks:
            detail, hint = _with_hold(it.detail, it.hint, holds.get(it.registry))
            checks.append(replace(it, detail=detail, hint=hint))
        return replace(self, checks=tuple(checks))

    def stale_registries(self) -> tuple[str, ...]:
        """Return the names of the files that are wrong about the project."""
        return tuple(it.registry for it in self.checks if not it.right)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer to `verify_propagation`."""
        # A registry that rightly has no entry is right. If the project is not in CMP, only `current` is.
        right = RIGHT if self.in_cmp is not False else ("current",)
        checks = {check.scanner.check: check.status in right for check in self.checks}
        if not self.checks:
            checks = {it.check: False for it in scanners().values() if it.source == Scanner.source}
        return {
            "verified": self.verified,
            "uuid": self.uuid,
            "name": self.name,
            "in_cmp": self.in_cmp,
            "checks": checks,
            "missing_from": [key for key, passed in checks.items() if not passed],
            "not_expected": [check.scanner.check for check in self.checks if check.status == "not_expected"],
            "details": {check.scanner.check: check.as_dict() for check in self.checks},
        }


def report_of(
    uuid: str, name: str | None, known: Mapping[str, bool | None], checks: Sequence[Check]
) -> Report:
    """Return the report about one UUID.

    `known` is scanner to whether CMP's table has the row; None if it could not be read. If one of the tables
    has it, the registries of the other tables say nothing about it and are left out.
    """
    sources = {check.scanner.source for check in checks if known[check.scanner.name]}
    concerned = tuple(check for check in checks if not sources or check.scanner.source in sources)
    # The row may be in a table that could not be read.
    in_cmp = True if any(known.values()) else None if None in known.values() or not known else False
    return Report(uuid, name, in_cmp, concerned)


@dataclass(frozen=True, slots=True)
class RegistryReport:
    """The result for all entries of one registry."""

    scanner: str
    registry: str
    """The file's name."""
    status: Literal["current", "differs", "unreadable"]
    detail: str = ""
    hint: str = ""
    difference: RegistryDifference | None = None
    """None if CMP could not be read for this registry."""
    held: Mapping[str, str] = field(default_factory=dict)
    """Quarantine: the entries that cannot be rendered, and the reasons."""
    hold: str = ""
    """Why the registry is held, if that is why it differs; also in `detail`."""

    @property
    def good(self) -> bool:
        """True if the file is right and no entry is in quarantine."""
        return self.status == "current" and not self.held

    def with_hold(self, hold: Fault | None) -> RegistryReport:
        """Return it with the reason for which the registry is held; None if it is not."""
        detail, hint = _with_hold(self.detail, self.hint, hold)
        why = hold.reason if hold and detail != self.detail else ""
        return replace(self, detail=detail, hint=hint, hold=why)

    def with_uncaptured(self, sources: Iterable[str]) -> RegistryReport:
        """Return it with the sources of the registry that are not captured yet: nothing else explains it."""
        names = ", ".join(sources)
        if self.good or not names:
            return self
        detail = f"{self.detail}; the changes of CMP's {names} are not captured yet"
        return replace(self, detail=detail, hint="run `omnicdc install`")

    def as_dict(self, *, names: bool = False) -> dict[str, Any]:
        """Return it for JSON: the counts, and the first entries of each kind; with `names`, their names too.

        The answers of GenesisClient, whose keys are fixed, have no names.
        """
        answer: dict[str, Any] = {"registry": self.registry, "status": self.status, "detail": self.detail}
        answer |= {
            "hint": self.hint,
            "held": {"count": len(self.held), "reasons": dict(islice(self.held.items(), MAX_LISTED))},
        }
        if it := self.difference:
            answer |= {"expected": it.expected, "found": it.found, "header": _pairs(it.header)}
            answer |= {"missing": _named(it.added), "unexpected": _named(it.removed)}
            answer["stale"] = {
                "count": len(it.changed),
                "entries": {each.entry_key: _pairs(each.fields) for each in it.changed[:MAX_LISTED]},
            }
            if names:
                for kind, entries in (
                    ("missing", it.added),
                    ("unexpected", it.removed),
                    ("stale", it.changed),
                ):
                    answer[kind]["names"] = _names(entries)
        return answer


@dataclass(frozen=True, slots=True)
class AllReport:
    """The result for all registries."""

    registries: tuple[RegistryReport, ...]
    inputs_known: bool

    @property
    def verified(self) -> bool:
        """True if every registry has exactly the entries that it should have."""
        return all(report.good for report in self.registries)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer to `verify --all`."""
        return {
            "verified": self.verified,
            "inputs_known": self.inputs_known,
            "registries": {report.scanner: report.as_dict(names=True) for report in self.registries},
        }

    def as_dry_run(self) -> dict[str, Any]:
        """Return what a full rebuild would do."""
        rewritten = {
            it.scanner: it.registry for it in self.registries if it.difference and it.difference.rewritten
        }
        return {
            "registries_updated": list(rewritten.values()),
            "scanners_run": [report.scanner for report in self.registries],
            "results": {
                it.scanner: ("rewritten" if it.scanner in rewritten else "unchanged")
                if it.difference
                else "unreadable"
                for it in self.registries
            },
            "details": {report.scanner: report.as_dict() for report in self.registries},
        }


def _named(entries: Sequence[EntryDifference]) -> dict[str, Any]:
    return {"count": len(entries), "units": [entry.entry_key for entry in entries[:MAX_LISTED]]}


def _names(entries: Sequence[EntryDifference]) -> dict[str, str]:
    """Return key to name, of the entries that are listed and have one."""
    return {entry.entry_key: entry.name for entry in entries[:MAX_LISTED] if entry.name}


def _pairs(differences: Differences) -> dict[str, Any]:
    return {name: {"expected": expected, "found": found} for name, (expected, found) in differences.items()}
