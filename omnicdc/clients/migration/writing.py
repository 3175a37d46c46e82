"""Writes the batches of a plan into CMP: each is one transaction, all of it or nothing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors as pg

from omnicdc import db
from omnicdc.clients.migration.journal import Batch, Journal, committed
from omnicdc.clients.migration.plans import change_of, changed_since, is_done
from omnicdc.clients.migration.rows import read_values, update
from omnicdc.db.connection import role_of
from omnicdc.db.errors import first_line, with_detail
from omnicdc.errors import ConfigError, DatabaseUnavailable, OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omnicdc.clients.migration.plans import PlannedItem
    from omnicdc.clients.migration.rows import ProjectTable

REFUSED = (psycopg.DataError, psycopg.IntegrityError, pg.RaiseException)
"""The errors of a value or a row that CMP refuses, by its constraints or by its own triggers."""

AGAIN = "plan again, and review what changed"


@dataclass(slots=True)
class Written:
    """What was written so far."""

    batches: list[Batch] = field(default_factory=list)
    """The transactions that were committed, in their order."""
    done: set[str] = field(default_factory=set)
    """The projects that they changed."""
    skipped: list[str] = field(default_factory=list)
    """The projects that had the values of the plan already."""


class ChangedSinceError(ConfigError):
    """A row is not as the plan found it. Nothing of its batch was written."""

    def __init__(self, item: PlannedItem, fields: Sequence[str]) -> None:
        what = "it is not in CMP any more" if fields == ["id"] else f"{', '.join(fields)} changed"
        super().__init__(f"{item['name']} ({item['uuid']}) changed since it was planned: {what}", hint=AGAIN)
        self.uuid = item["uuid"]
        self.fields = list(fields)


def batches_of(items: Sequence[PlannedItem], size: int | None) -> Iterator[Sequence[PlannedItem]]:
    """Yield the items in batches of `size`; without a size, all at once."""
    step = size or max(1, len(items))
    for start in range(0, len(items), step):
        yield items[start : start + step]


def write_batch(
    connect: Callable[[], db.Connection],
    table: ProjectTable,
    items: Sequence[PlannedItem],
    written: Written,
    journal: Journal | None,
) -> None:
    """Write one batch in one transaction, and note it in `written`. A repeat skips what is done already.

    The rows are locked and compared with the plan first. Raises ChangedSinceError, ConfigError for a value
    that CMP refuses, and DatabaseUnavailable. After an error nothing of the batch is in CMP, but for a
    connection that is lost during COMMIT: then the server is asked how the transaction ended.
    """
    batch, skipped = None, list[str]()
    try:
        with connect() as conn, refusals(table), conn.transaction():
            present = read_values(conn, table, [change_of(it) for it in items], lock=True)
            todo = [it for it in items if not is_done(it, present.get(it["uuid"]))]
            for item in todo:
                if fields := changed_since(item, present.get(item["uuid"])):
                    raise ChangedSinceError(item, fields)
            skipped = [it["uuid"] for it in items if is_done(it, present.get(it["uuid"]))]
            if todo:
                update(conn, table, [change_of(it) for it in todo])
                batch = Batch(db.fetch_one(conn, "token")["token"], tuple(it["uuid"] for it in todo))
                if journal:
                    journal.add(batch)
    except DatabaseUnavailable:
        if batch is None or not _is_committed(connect, batch):
            raise
    written.skipped += skipped
    if batch:
        written.batches.append(batch)
        written.done |= {*batch.uuids}


def _is_committed(connect: Callable[[], db.Connection], batch: Batch) -> bool:
    """Ask the server how a transaction ended whose connection was lost. Raises DatabaseUnavailable."""
    with connect() as conn:
        return bool(committed(conn, [batch]))


@contextmanager
def refusals(table: ProjectTable) -> Iterator[None]:
    """Turn the errors of PostgreSQL while CMP's rows are read and written into omnicdc errors.

    Raises ConfigError for a value or a row that CMP refuses, and for a missing right.
    """
    doing = f"changing {table.name}"
    try:
        with db.translated(doing):
            yield
    except OmnicdcError as exc:
        cause = exc.__cause__
        if isinstance(cause, pg.InsufficientPrivilege):
            raise ConfigError(
                f"{doing}: {first_line(cause)}",
                hint=f"grant select, update on {table.name} to {role_of(cause)}",
            ) from cause
        if isinstance(cause, (*REFUSED, psycopg.ProgrammingError)):
            hint = cause.diag.message_hint or "change the plan"
            raise ConfigError(f"{doing}: {with_detail(cause)}", hint=hint) from cause
        raise
