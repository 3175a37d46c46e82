"""A plan: what a migration will write, and what stands against it. It is plain JSON, for review. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

from omnicdc.clients.migration.changes import Change
from omnicdc.errors import ConfigError
from omnicdc.formats.item import same

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from omnicdc.answers.plan.effect import Effect
    from omnicdc.clients.migration.conflicts import Obstacle
    from omnicdc.clients.migration.facts import Facts
    from omnicdc.clients.migration.rows import Values

AGAIN = "plan again: `client.plan(changes)` or `omnicdc migrate plan`"

APPLY = "`client.apply(plan)` returns it; `omnicdc migrate apply PLAN` writes it: PLAN.report"


class PlannedItem(TypedDict):
    """One project of a plan. A key that a json column does not have is not in `before` or `after`."""

    uuid: str
    name: str | None
    set: dict[str, Any]
    unset: list[str]
    before: dict[str, Any]
    after: dict[str, Any]
    registries: list[str]


class PlanAnswer(TypedDict):
    """The answer of `plan`. `error` is None if `success` is true; conflicts are no error."""

    success: bool
    dry_run: bool
    error: str | None
    detail: str
    hint: str
    total: int
    items: list[PlannedItem]
    unchanged: list[str]
    conflicts: list[dict[str, Any]]
    losses: list[dict[str, Any]]
    registries: dict[str, dict[str, Any]]
    not_checked: list[str]


def no_plan(error: str, detail: str, hint: str) -> PlanAnswer:
    """Return the answer of a `plan` that failed."""
    return {
        "success": False, "dry_run": True, "error": error, "detail": detail, "hint": hint, "total": 0,
        "items": [], "unchanged": [], "conflicts": [], "losses": [], "registries": {}, "not_checked": [],
    }  # fmt: skip


def plan_answer(
    items: Sequence[PlannedItem],
    unchanged: Sequence[str],
    *,
    conflicts: Iterable[Obstacle],
    losses: Iterable[Obstacle],
    effects: Iterable[Effect],
    not_checked: Sequence[str],
) -> PlanAnswer:
    """Return the answer of a `plan`."""
    return {
        "success": True,
        "dry_run": True,
        "error": None,
        "detail": "",
        "hint": "",
        "total": len(items),
        "items": list(items),
        "unchanged": list(unchanged),
        "conflicts": [it.as_dict() for it in conflicts],
        "losses": [it.as_dict() for it in losses],
        "registries": {it.registry: it.as_dict() for it in effects if it.rewritten or it.fault},
        "not_checked": list(not_checked),
    }


def planned_item(
    change: Change, facts: Facts, before: Values, after: Values, effects: Iterable[Effect]
) -> PlannedItem:
    """Return one project of a plan."""
    return {
        "uuid": change.uuid,
        "name": facts.name,
        "set": dict(change.set),
        "unset": list(change.unset),
        "before": before,
        "after": after,
        "registries": [it.registry for it in effects if change.uuid in it.projects],
    }


def would_be(before: Values, change: Change) -> Values:
    """Return the values after a change, as far as they follow without CMP's own conversions."""
    return {name: value for name, value in (before | dict(change.set)).items() if name not in change.unset}


def is_plan(answer: object) -> bool:
    """Whether an answer is one of `plan`."""
    return isinstance(answer, dict) and answer.keys() >= {"items", "losses"}


def is_report(answer: object) -> bool:
    """Whether an answer is one of `apply` or `undo`."""
    return isinstance(answer, dict) and answer.keys() >= {"items", "batches"}


def items_of(plan: object) -> list[PlannedItem]:
    """Return the projects of a plan that a caller gives. Raises ConfigError if it is no plan."""
    items = plan.get("items") if isinstance(plan, dict) else None
    if is_report(plan):
        raise ConfigError("this is the report of an apply, and not a plan", hint=AGAIN)
    if not isinstance(items, list):
        raise ConfigError("not a plan: it has no list `items`", hint=AGAIN)
    keys = PlannedItem.__required_keys__
    for item in items:
        if not isinstance(item, dict) or not keys <= item.keys():
            raise ConfigError("not a plan: its `items` are not the projects of a plan", hint=AGAIN)
    return items


def change_of(item: PlannedItem) -> Change:
    """Return the change that an item of a plan makes."""
    return Change(item["uuid"], item["set"], tuple(item["unset"]))


def reversed_item(item: PlannedItem) -> PlannedItem:
    """Return the item that restores what an item changed."""
    before, after = item["before"], item["after"]
    return {**item, "set": before, "unset": [name for name in after if name not in before],
            "before": after, "after": before}  # fmt: skip


def undone_items(report: object) -> list[PlannedItem]:
    """Return the items that restore what an apply changed, by its report. Raises ConfigError."""
    items = report.get("items") if isinstance(report, dict) else None
    if is_plan(report):
        raise ConfigError("this is a plan, and not the report of an apply", hint=APPLY)
    keys = {"uuid", "name", "before", "after", "result"}
    if not isinstance(items, list) or not all(isinstance(it, dict) and keys <= it.keys() for it in items):
        raise ConfigError(
            "not a report of an apply: it has no list `items` of projects with their `result`",
            hint=APPLY,
        )
    if isinstance(report, dict) and report.get("dry_run"):
        raise ConfigError("this is the report of a dry run: nothing was applied", hint="apply the plan first")
    applied = [it for it in items if it["result"] == "applied"]
    return [reversed_item(cast("PlannedItem", {"registries": [], **it})) for it in applied]


def changed_since(item: PlannedItem, present: Values | None) -> list[str]:
    """Return the fields whose present values are not those of the plan. `present` is None without a row."""
    if present is None:
        return ["id"]
    before = item["before"]
    names = sorted({*before, *present})
    return [
        name
        for name in names
        if (name in before) != (name in present) or not same(before.get(name), present.get(name))
    ]


def is_done(item: PlannedItem, present: Values | None) -> bool:
    """Whether the project already has the values that the plan would write."""
    return present is not None and same(dict(item["after"]), dict(present))


def unaccepted(plan: Mapping[str, Any], accept: Collection[str]) -> list[dict[str, Any]]:
    """Return the conflicts of a plan that were not accepted."""
    return [it for it in plan.get("conflicts", []) if it["kind"] not in accept]
