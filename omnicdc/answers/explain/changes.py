"""The part of the answer of `explain` that is about the last changes of a project. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

# At run time as well, because programs evaluate the types of the answers.
from omnicdc.answers.log.entries import Writer, writer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from omnicdc.db import Row


class Publication(TypedDict):
    """Whether the files of one consumer hold a change, and since when.

    `generation` is None if the change is not read yet, or if the generation was deleted by retention.
    """

    consumer: str
    read: bool
    generation: int | None
    published_at: str | None
    milliseconds: float | None
    held: list[str]
    postponed: list[str]


class ChangeExplanation(TypedDict):
    """One change in the log. `at` is when it was written; `fields` is None for the whole row.

    `writer` is None if writers were not recorded.
    """

    token: str
    op: str
    fields: list[str] | None
    every_row: bool
    at: str
    writer: Writer | None
    published: list[Publication]


def change_explanations(rows: Iterable[Row]) -> list[ChangeExplanation]:
    """Return the changes, the newest first, from the rows of the query `changes_of`."""
    changes: dict[tuple[Any, ...], ChangeExplanation] = {}
    for row in rows:
        fields = None if row["fields"] is None else list(row["fields"])
        change = changes.setdefault(
            (row["token"], row["op"], row["at"], row["every_row"], str(fields), str(row["writer"])),
            {
                "token": row["token"],
                "op": row["op"],
                "fields": fields,
                "every_row": row["every_row"],
                "at": row["at"].isoformat(),
                "writer": writer(row["writer"]) if row["writer"] else None,
                "published": [],
            },
        )
        if row["consumer"] is not None:
            change["published"].append(_publication(row))
    return [*changes.values()]


def _publication(row: Row) -> Publication:
    after = row["published_at"] - row["at"] if row["published_at"] else None
    return {
        "consumer": row["consumer"],
        "read": bool(row["read"]),
        "generation": row["generation"],
        "published_at": time_text(row["published_at"]),
        "milliseconds": None if after is None else round(after.total_seconds() * 1000, 1),
        "held": sorted(row["held"] or ()),
        "postponed": sorted(row["postponed"] or ()),
    }


def time_text(at: Any) -> str | None:  # noqa: ANN401 - a datetime of the server, or None
    """Return a time of the database as the answers have it."""
    return None if at is None else str(at.isoformat())
