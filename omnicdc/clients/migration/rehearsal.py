"""What an `apply` would do with the rows as they are now: the answer of its dry run. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnicdc.clients import answers
from omnicdc.clients.migration.plans import changed_since, is_done, unaccepted
from omnicdc.clients.migration.reports import apply_answer, error_of
from omnicdc.clients.migration.writing import ChangedSinceError, batches_of
from omnicdc.errors import ConfigError, OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from omnicdc.clients.migration.plans import PlanAnswer, PlannedItem
    from omnicdc.clients.migration.reports import ApplyAnswer, Result
    from omnicdc.clients.migration.rows import Values


@dataclass(slots=True)
class Rehearsed:
    """What would be written, what is there already, and which rows would stop the apply."""

    applied: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    refused: list[ChangedSinceError] = field(default_factory=list)


def rehearsed(
    items: Sequence[PlannedItem],
    present: Mapping[str, Values],
    unchanged: Collection[str],
    batch_size: int | None,
) -> Rehearsed:
    """Return what an apply of these items would do, transaction by transaction.

    `present` has the rows' values, `unchanged` the projects that the change would leave as they are. A
    project in neither is not in CMP. A row that changed since the plan stops the apply: its transaction and
    the later ones are not written. All such rows are named, where an apply stops at the first.
    """
    it = Rehearsed()
    for batch in batches_of(items, batch_size):
        done = [one for one in batch if one["uuid"] in unchanged or is_done(one, present.get(one["uuid"]))]
        todo = [one for one in batch if one not in done]
        faults = [(one, changed_since(one, present.get(one["uuid"]))) for one in todo]
        it.refused += [ChangedSinceError(one, fields) for one, fields in faults if fields]
        if not it.refused:
            it.applied += [one["uuid"] for one in todo]
            it.skipped += [one["uuid"] for one in done]
    return it


def rehearsal_answer(
    items: Sequence[PlannedItem],
    left: Sequence[PlannedItem],
    fresh: PlanAnswer,
    done: Collection[str],
    *,
    accept: Collection[str],
    batch_size: int | None,
) -> ApplyAnswer:
    """Return the report of a dry run. `fresh` is a plan of what is `left` to write, made now.

    `done` are the projects that an earlier apply has written. `conflicts` are those that the plan has now; an
    apply refuses only those that its own plan has.
    """
    present = {it["uuid"]: it["before"] for it in fresh["items"]}
    it = rehearsed(left, present, fresh["unchanged"], batch_size)
    conflicts = unaccepted(fresh, accept)
    faults: list[OmnicdcError] = [*it.refused]
    faults += [ConfigError(one["detail"], hint=one["hint"]) for one in conflicts if one["kind"] == "refused"]
    if faults and not it.refused:
        it.applied, it.skipped = [], []
    updated = [name for one in fresh["items"] if one["uuid"] in {*it.applied} for name in one["registries"]]
    outcome = answers.would([name for name in fresh["registries"] if name in updated], [], {})
    if faults:
        outcome = answers.failed_by(faults[0], dry_run=True)
    results: dict[str, Result] = dict.fromkeys([*done, *it.applied], "applied")
    results |= dict.fromkeys(it.skipped, "skipped")
    return apply_answer(
        outcome,
        items,
        results=results,
        verified={},
        conflicts=[one for one in conflicts if one["kind"] != "refused"],
        errors=[error_of(fault) for fault in faults],
    )
