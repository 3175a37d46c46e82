"""The entries of the log, built from what was read. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from omnicdc.log.timings import stages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from omnicdc.db import Row

MOST_ROWS = 1000
"""So many rows of one transaction are read."""

NO_WRITER: tuple[str | None, ...] = (None, None, None)


class Writer(TypedDict):
    """Who wrote. Each is None if it was not recorded."""

    role: str | None
    application_name: str | None
    traceparent: str | None


class Key(TypedDict):
    """One row of CMP. `name` is None for a row that is no project, or that is no longer in CMP."""

    key: str
    name: str | None


class Changes(TypedDict):
    """Changes of one kind in one transaction.

    `keys` are those of the first ten rows, each once; `fields` is None for the whole row. `op` rebuild,
    accept and look are requests to the daemons; `source` is None then.
    """

    source: str | None
    op: str
    fields: list[str] | None
    changes: int
    every_row: bool
    keys: list[Key]


class Publication(TypedDict):
    """What one consumer did with a transaction.

    `generation` is None if its daemon has not read the transaction (`read` is false), or if retention deleted
    the generation. `milliseconds` is the time from the last write of the transaction to its publication.
    """

    consumer: str
    read: bool
    generation: int | None
    published_at: str | None
    milliseconds: float | None
    stages_ms: dict[str, float]
    registries: list[str]
    held: list[str]
    postponed: list[str]


class Transaction(TypedDict):
    """One transaction. `at` is when its last row was written.

    `changes` counts the rows of the log; if `complete` is false, there are more, which were not read.
    """

    kind: Literal["transaction"]
    token: str
    at: str
    writers: list[Writer]
    changes: int
    complete: bool
    rows: list[Changes]
    published: list[Publication]


class Generation(TypedDict):
    """One generation of a consumer. `tokens` are the transactions of a live log that it published."""

    kind: Literal["generation"]
    consumer: str
    generation: int
    published_at: str
    changes: int
    registries: list[str]
    held: list[str]
    postponed: list[str]
    stages_ms: dict[str, float]
    tokens: list[str]


class LogAnswer(TypedDict):
    """The answer of `omnicdc log`, the newest first.

    `transactions` is empty for a registry, and `generations` for everything else. `more`: whether older ones
    were left out because of `-n`. `searched_back_to` is set if the log is longer than what was read of it.
    """

    of: Literal["all", "project", "registry"]
    name: str | None
    key: str | None
    since: str | None
    writers_recorded: bool
    transactions: list[Transaction]
    generations: list[Generation]
    more: bool
    searched_back_to: str | None


def keys_in(rows: Iterable[Row]) -> list[str]:
    """Return the keys of projects in the rows of the query `log_changes`."""
    return sorted({key for row in rows if row["source"] == "projects" for key in row["keys"] or ()})


def transactions(
    changes: Iterable[Row],
    publications: Iterable[Row],
    names: Mapping[str, str],
    since: datetime | None = None,
) -> list[Transaction]:
    """Return the transactions in the order of `changes`, from the rows of the queries about them.

    `names` are the names of projects by UUID. What was written before `since` is left out.
    """
    grouped: dict[str, list[Row]] = {}
    for row in changes:
        grouped.setdefault(row["token"], []).append(row)
    published: dict[str, list[Row]] = {}
    for row in publications:
        published.setdefault(row["token"], []).append(row)
    found = []
    for token, rows in grouped.items():
        at = max(row["at"] for row in rows)
        if since is None or at >= since:
            found.append(_transaction(token, at, rows, published.get(token, ()), names))
    return found


def _transaction(
    token: str, at: datetime, rows: Sequence[Row], published: Iterable[Row], names: Mapping[str, str]
) -> Transaction:
    total = sum(row["changes"] for row in rows)
    writers = {tuple(row["writer"]): None for row in rows if row["writer"]}
    return {
        "kind": "transaction",
        "token": token,
        "at": at.isoformat(),
        "writers": [writer(it) for it in writers],
        "changes": total,
        "complete": total < MOST_ROWS,
        "rows": _merged(rows, names),
        "published": [publication(row, at) for row in published],
    }


def _merged(rows: Iterable[Row], names: Mapping[str, str]) -> list[Changes]:
    """Return the groups of rows; two that differ only in their writer are one."""
    merged: dict[tuple[object, ...], Changes] = {}
    for row in rows:
        fields = None if row["fields"] is None else list(row["fields"])
        group = merged.setdefault(
            (row["source"], row["op"], str(fields), row["every_row"]),
            {
                "source": row["source"], "op": row["op"], "fields": fields, "changes": 0,
                "every_row": row["every_row"], "keys": [],
            },
        )  # fmt: skip
        group["changes"] += row["changes"]
        known = {it["key"] for it in group["keys"]}
        keys = dict.fromkeys(key for key in row["keys"] or () if key not in known)
        group["keys"] += [{"key": key, "name": names.get(key)} for key in keys]
    return [*merged.values()]


def writer(recorded: Sequence[str | None] | None) -> Writer:
    """Return the writer from `omnicdc.change.writer`."""
    role, application_name, traceparent = (*(recorded or ()), *NO_WRITER)[:3]
    return {"role": role, "application_name": application_name, "traceparent": traceparent}


def publication(row: Row, at: datetime) -> Publication:
    """Return what a consumer did with a transaction that was written at `at`."""
    after = row["published_at"] - at if row["published_at"] else None
    return {
        "consumer": row["consumer"],
        "read": bool(row["read"]),
        "generation": row["generation"],
        "published_at": row["published_at"] and row["published_at"].isoformat(),
        "milliseconds": None if after is None else round(after.total_seconds() * 1000, 1),
        "stages_ms": stages(row["timings"]),
        "registries": list(row["registries"] or ()),
        "held": sorted(row["held"] or ()),
        "postponed": sorted(row["postponed"] or ()),
    }


def generation(row: Row, tokens: Iterable[str] = ()) -> Generation:
    """Return a generation from a row of the history."""
    at: Any = row["published_at"]
    return {
        "kind": "generation",
        "consumer": row["consumer"],
        "generation": row["generation"],
        "published_at": at.isoformat(),
        "changes": row["changes"],
        "registries": list(row["registries"]),
        "held": sorted(row["held"]),
        "postponed": sorted(row["postponed"]),
        "stages_ms": stages(row["timings"]),
        "tokens": list(tokens),
    }


def visible(token: str, snapshot: str) -> bool:
    """Whether a transaction that committed is visible in a snapshot (PostgreSQL's `pg_snapshot` as text)."""
    oldest, newest, running = snapshot.split(":")
    xid = int(token)
    return xid < int(oldest) or (xid < int(newest) and token not in running.split(","))
