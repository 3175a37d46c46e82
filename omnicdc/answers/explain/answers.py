"""The answer of `explain`, built from what was read. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

# These also at run time, because programs evaluate the types of the answers.
from omnicdc.answers.explain.changes import ChangeExplanation, time_text
from omnicdc.registries.scanner import OTHERS
from omnicdc.verify.expectation import quarantine_fault
from omnicdc.verify.report import WAIT, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from omnicdc.answers.explain.places import Places
    from omnicdc.db import Row
    from omnicdc.verify.expectation import Expectation
    from omnicdc.verify.report import Check, Report

IN_FILE: Mapping[str, bool | None] = {
    "current": True,
    "stale": True,
    "unexpected": True,
    "missing": False,
    "not_expected": False,
    "unreadable": None,
}
"""Status of a check to whether the project is in the file; None if that is not known."""


class FieldExplanation(TypedDict):
    """One field: the value that it should have, the one in the file, and where the value comes from.

    `where` is a column, `FILE:LINE`, a path, or a reason.
    """

    value: Any
    found: Any
    differs: bool
    origin: Literal["CMP", "override", "clone", "GitHub", "inventory", "omnicdc"]
    where: str


class Hold(TypedDict):
    """Why a registry is held, and what to do about it."""

    reason: str
    hint: str


class RegistryExplanation(TypedDict):
    """One registry. `in_file` and `expected` are None if that is not known; `where` may be empty.

    `held` says why this host's daemon holds the registry, and the command that releases it; None if it does
    not. The file then keeps its last content.
    """

    scanner: str
    registry: str
    path: str
    status: Status
    in_file: bool | None
    expected: bool | None
    reason: str
    where: str
    hint: str
    held: Hold | None
    fields: dict[str, FieldExplanation]


class ConsumerExplanation(TypedDict):
    """What one registry host has of the project.

    `unread` counts the changes that its daemon has not read yet. `held` maps a registry to reason and hint,
    and `quarantined` a registry to the reason.
    """

    consumer: str
    host: str
    root: str
    alive: bool
    generation: int
    published_at: str | None
    unread: int
    held: dict[str, Hold]
    postponed: list[str]
    quarantined: dict[str, str]


class Explanation(TypedDict):
    """The answer of `explain`. `success` is false only if the project could not be explained.

    `on_its_way` says in words what the files do not show yet. `not_checked` names the registries whose files
    are not on this host. If the log is long, `changes` are those among its newest 500,000 rows; then
    `changes_searched_back_to` says how far that reaches, and is None otherwise.
    """

    success: bool
    error: str | None
    hint: str
    uuid: str | None
    name: str | None
    in_cmp: bool | None
    verified: bool | None
    registries: list[RegistryExplanation]
    on_its_way: list[str]
    consumers: list[ConsumerExplanation]
    changes: list[ChangeExplanation]
    changes_searched_back_to: str | None
    not_checked: list[str]


def no_explanation(error: str, hint: str) -> Explanation:
    """Return the answer for a project that could not be explained."""
    return {
        "success": False, "error": error, "hint": hint, "uuid": None, "name": None, "in_cmp": None,
        "verified": None, "registries": [], "on_its_way": [], "consumers": [], "changes": [],
        "changes_searched_back_to": None, "not_checked": [],
    }  # fmt: skip


def registry_explanations(
    report: Report, expected: Mapping[str, Expectation], places: Places, holds: Mapping[str, Hold]
) -> list[RegistryExplanation]:
    """Return what is to be said about each registry that concerns the project.

    `holds` are the registries that this host's daemon holds.
    """
    return [
        _registry(check, expected[check.scanner.name], places, holds.get(check.registry))
        for check in report.checks
    ]


def _registry(check: Check, expected: Expectation, places: Places, held: Hold | None) -> RegistryExplanation:
    scanner = check.scanner
    reason, where = places.reason(expected)
    return {
        "scanner": scanner.name,
        "registry": scanner.registry,
        "path": places.path(scanner),
        "status": check.status,
        "in_file": IN_FILE[check.status],
        "expected": None if expected.fault else bool(expected.items),
        "reason": reason if check.right else check.detail or reason,
        "where": where,
        "hint": "" if held and check.hint == WAIT else check.hint,
        "held": held,
        "fields": _fields(check, expected, places),
    }


def _fields(check: Check, expected: Expectation, places: Places) -> dict[str, FieldExplanation]:
    """Return the fields of the entry, or of the first if there are several."""
    origins = (
        expected.scanner.origins(expected.entry_key, expected.rows, places.inputs) if expected.items else {}
    )
    fields: dict[str, FieldExplanation] = {}
    for name, value in expected.items[0].fields.items() if expected.items else ():
        if origin := origins.get(name) or origins.get(OTHERS):
            source, where = places.place(origin, expected)
            differs = name in check.differences
            present = value if IN_FILE[check.status] else None
            fields[name] = {
                "value": value,
                "found": check.differences[name][1] if differs else present,
                "differs": differs,
                "origin": source,
                "where": where,
            }
    return fields


def consumer_explanations(rows: Iterable[Row]) -> list[ConsumerExplanation]:
    """Return what each consumer has, from the rows of the query `hosts`."""
    return [
        {
            "consumer": row["name"],
            "host": row["host"],
            "root": row["root"],
            "alive": row["alive"],
            "generation": row["generation"],
            "published_at": time_text(row["published_at"]),
            "unread": row["unread"],
            "held": {name: {"reason": it["reason"], "hint": it["hint"]} for name, it in row["held"].items()},
            "postponed": sorted(row["postponed"]),
            "quarantined": dict(row["quarantined"]),
        }
        for row in rows
    ]


def holds_here(consumers: Iterable[ConsumerExplanation], consumer: str, root: str) -> dict[str, Hold]:
    """Return what the consumer of this name holds, if it serves this root."""
    return next((it["held"] for it in consumers if (it["consumer"], it["root"]) == (consumer, root)), {})


def on_its_way(consumers: Sequence[ConsumerExplanation], concerned: Iterable[str]) -> list[str]:
    """Return one line for each thing that the files of a consumer do not show yet, and why.

    `concerned` are the names of the registries that may show the project.
    """
    names = {*concerned}
    lines = []
    for one in consumers:
        who = one["consumer"]
        if one["unread"]:
            state = "its daemon reads them next" if one["alive"] else (
                f"its daemon does not run - on {one['host']}: systemctl start omnicdc"
            )  # fmt: skip
            lines.append(f"{who}: {_changes(one['unread'])} not published yet: {state}")
        lines += [
            f"{who}: {registry} is held: {why['reason']} - {why['hint']}"
            for registry, why in one["held"].items()
            if registry in names
        ]
        lines += [
            f"{who}: {registry} shows changes only after its next full scan or check"
            for registry in one["postponed"]
            if registry in names
        ]
        lines += [
            f"{who}: the project is in quarantine in {registry}: {reason} - {quarantine_fault(reason).hint}"
            for registry, reason in one["quarantined"].items()
        ]
    return lines


def _changes(count: int) -> str:
    return "1 change is" if count == 1 else f"{count} changes are"
