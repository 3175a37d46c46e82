"""What `verify` and `audit` answer, and how that looks as JSON, which is a contract (docs/client.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.formats.item import Differences
    from omnicdc.verify.difference import EntryDifference, RegistryDifference

Status = Literal["current", "missing", "stale", "unexpected", "unreadable", "not_expected"]

_KEYS = {"cmp_projects": "in_canonical_uuids", "project": "in_project_registry", "git": "in_repo_inventory"}
"""What Genesis calls the checks."""

WAIT = "`omnicdc wait`, then look again; if it lasts, `omnicdc status` tells why"

SHOWN = 20
"""How many entries of each kind are told by name."""


@dataclass(frozen=True, slots=True)
class Check:
    """One registry: whether it holds the project as CMP has it."""

    scanner: str
    registry: str
    """The file's name."""
    status: Status
    detail: str = ""
    hint: str = ""
    differences: Differences = field(default_factory=dict)
    not_compared: tuple[str, ...] = ()
    """Fields that depend on inputs which cannot be read here."""

    @property
    def key(self) -> str:
        """What Genesis calls this check."""
        return _KEYS.get(self.scanner, f"in_{self.scanner}")

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
    """One project in all registries."""

    uuid: str
    name: str | None
    in_cmp: bool | None
    """None if CMP could not be read."""
    checks: tuple[Check, ...]

    @property
    def verified(self) -> bool:
        """Whether all that should hold it do, as CMP has it, and no other does.

        What is not in CMP has not arrived.
        """
        return self.in_cmp is not False and all(
            check.status in ("current", "not_expected") for check in self.checks
        )

    def stale_registries(self) -> tuple[str, ...]:
        """Return the names of the files that are not right."""
        return tuple(it.registry for it in self.checks if it.status not in ("current", "not_expected"))

    def as_dict(self) -> dict[str, Any]:
        """Return the answer to `verify_propagation`."""
        # A registry that rightly does not hold the project is right about it; of what is not in CMP, none is.
        right = ("current", "not_expected") if self.in_cmp is not False else ("current",)
        checks = dict.fromkeys(_KEYS.values(), False)
        checks |= {check.key: check.status in right for check in self.checks}
        return {
            "verified": self.verified,
            "uuid": self.uuid,
            "name": self.name,
            "in_cmp": self.in_cmp,
            "checks": checks,
            "missing_from": [key for key, passed in checks.items() if not passed],
            "not_expected": [check.key for check in self.checks if check.status == "not_expected"],
            "details": {check.key: check.as_dict() for check in self.checks},
        }


@dataclass(frozen=True, slots=True)
class RegistryReport:
    """One registry, all of it."""

    scanner: str
    registry: str
    """The file's name."""
    status: Literal["current", "differs", "unreadable"]
    detail: str = ""
    hint: str = ""
    difference: RegistryDifference | None = None
    """None if CMP could not be read for it."""
    held: Mapping[str, str] = field(default_factory=dict)
    """Entries that cannot be rendered, and why."""

    @property
    def good(self) -> bool:
        """Whether it holds all that it should."""
        return self.status == "current" and not self.held

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: counts, and the first of each kind."""
        told: dict[str, Any] = {"registry": self.registry, "status": self.status, "detail": self.detail}
        told |= {
            "hint": self.hint,
            "held": {"count": len(self.held), "reasons": dict(islice(self.held.items(), SHOWN))},
        }
        if it := self.difference:
            told |= {"expected": it.expected, "found": it.found, "header": _pairs(it.header)}
            told |= {"missing": _named(it.added), "unexpected": _named(it.removed)}
            told["stale"] = {
                "count": len(it.changed),
                "entries": {each.entry_key: _pairs(each.fields) for each in it.changed[:SHOWN]},
            }
        return told


@dataclass(frozen=True, slots=True)
class AllReport:
    """All registries."""

    registries: tuple[RegistryReport, ...]
    inputs_known: bool

    @property
    def verified(self) -> bool:
        """Whether every registry holds all that it should, and nothing else."""
        return all(report.good for report in self.registries)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer to `verify --all`."""
        return {
            "verified": self.verified,
            "inputs_known": self.inputs_known,
            "registries": {report.scanner: report.as_dict() for report in self.registries},
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
    return {"count": len(entries), "units": [entry.entry_key for entry in entries[:SHOWN]]}


def _pairs(differences: Differences) -> dict[str, Any]:
    return {name: {"expected": expected, "found": found} for name, (expected, found) in differences.items()}
