"""Says in words which registries a change concerns, and why. No I/O."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from omnicdc.answers.plan.answers import Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from omnicdc.capture.watch_list import Watch
    from omnicdc.model import Change

_OPERATIONS = {
    "insert": "rows are inserted",
    "update": "keys of rows change",
    "delete": "rows are deleted",
    "truncate": "all rows are deleted",
}
"""What a change of the log means that names no fields."""


def why(scanner: str, changes: Iterable[Change], watch: Watch, *, changed: bool) -> str:
    """Return why a registry would change, or why it would not, for what the log names."""
    read, other, events = dict[str, None](), dict[str, None](), dict[str, None]()
    for change in changes:
        fields = watch.by_scanner[scanner].get(change.source or "")
        if fields is None:
            other |= dict.fromkeys(change.fields or [f"table {change.source}"])
        elif change.fields is None:
            events[_OPERATIONS.get(change.op, change.op)] = None
        else:
            for name in change.fields:
                (read if name in fields else other)[name] = None
    concerned = [*events, *([f"it reads {', '.join(read)}"] if read else [])]
    if concerned:
        return "; ".join(concerned) + ("" if changed else ", but its entries stay the same")
    return f"it does not read {', '.join(other)}" if other else ""


def rows_of(changes: Iterable[Change], emptied: Mapping[str, int]) -> list[Row]:
    """Return the rows that the log names, each once. A row without a key stands for several of its table.

    `emptied` is the number of rows of each source before it was truncated.
    """
    numbers: Counter[str] = Counter()
    found: dict[tuple[str, str | None], tuple[dict[str, None], dict[str, None] | None]] = {}
    for change in changes:
        fields = None if change.fields is None else dict.fromkeys(change.fields)
        if change.projects is None and change.op != "truncate":
            numbers[change.source or ""] += change.rows
        for key in [None] if change.projects is None else change.projects:
            place = (change.source or "", key)
            operations, before = found.get(place, ({}, {}))
            both = None if fields is None or before is None else before | fields
            found[place] = (operations | {change.op: None}, both)
    return [
        Row(
            source,
            key,
            (*operations,),
            None if fields is None else (*fields,),
            rows=1 if key is not None else _number(source, operations, numbers, emptied),
        )
        for (source, key), (operations, fields) in found.items()
    ]


def _number(
    source: str, operations: Collection[str], numbers: Mapping[str, int], emptied: Mapping[str, int]
) -> int:
    """Return how many rows of a source a row without a key stands for."""
    return numbers[source] + (emptied.get(source, 0) if "truncate" in operations else 0)
