"""The answer of `apply` and `undo`: what was written, and what arrived. It is plain JSON. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from omnicdc.clients.answers import Outcome, WaitAnswer, wait_answer
from omnicdc.log.scrub import scrubbed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.clients.migration.journal import Batch
    from omnicdc.clients.migration.plans import PlannedItem
    from omnicdc.errors import OmnicdcError

Result = Literal["applied", "skipped", "not_written"]


class AppliedItem(TypedDict):
    """One project of the report. `verified` is None if this host has no registries to compare with."""

    uuid: str
    name: str | None
    before: dict[str, Any]
    after: dict[str, Any]
    result: Result
    verified: bool | None


class BatchAnswer(TypedDict):
    """One transaction."""

    token: str
    projects: int


class ApplyAnswer(WaitAnswer):
    """The answer of `apply` and `undo`. `skipped` counts the projects that had the new values already.

    For a dry run, all counts and results are those that there would be.
    """

    total: int
    applied: int
    skipped: int
    conflicts: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    verified: int
    items: list[AppliedItem]
    batches: list[BatchAnswer]


def apply_answer(
    it: Outcome,
    items: Sequence[PlannedItem],
    *,
    results: Mapping[str, Result],
    verified: Mapping[str, bool],
    batches: Sequence[Batch] = (),
    conflicts: Sequence[dict[str, Any]] = (),
    errors: Sequence[dict[str, Any]] = (),
) -> ApplyAnswer:
    """Return the report. A project without a result was not written."""
    counted = [*results.values()]
    return {
        **wait_answer(it),
        "total": len(items),
        "applied": counted.count("applied"),
        "skipped": counted.count("skipped"),
        "conflicts": list(conflicts),
        "errors": list(errors),
        "verified": sum(verified.values()),
        "items": [_applied(item, results, verified) for item in items],
        "batches": [{"token": one.token, "projects": len(one.uuids)} for one in batches],
    }


def error_of(exc: OmnicdcError) -> dict[str, Any]:
    """Return one of a report's `errors`. `uuid` is None if it concerns no single project."""
    return {
        "uuid": getattr(exc, "uuid", None),
        "fields": getattr(exc, "fields", []),
        "detail": scrubbed(exc.message),
        "hint": exc.advice(),
    }


def _applied(item: PlannedItem, results: Mapping[str, Result], verified: Mapping[str, bool]) -> AppliedItem:
    uuid = item["uuid"]
    return {
        "uuid": uuid,
        "name": item["name"],
        "before": item["before"],
        "after": item["after"],
        "result": results.get(uuid, "not_written"),
        "verified": verified.get(uuid),
    }
