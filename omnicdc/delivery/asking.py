"""Questions to the database, without I/O: a generator yields each query, and gets its rows.

So one text serves threads and asyncio. `answered` runs the queries on a connection; `async_pool` has its
counterpart for asyncio.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psycopg

from omnicdc.db import sql
from omnicdc.db.connection import Row
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import LiteralString

    from psycopg.sql import Composed

    from omnicdc.db.connection import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """One query. The generator that yields it gets all its rows, or psycopg's error."""

    statement: LiteralString | Composed
    params: Mapping[str, Any] | None = None


Asking = Generator[Ask, list[Row], T]
"""Queries, one after the other, and a result."""


def rows(name: str, params: Mapping[str, Any] | None = None) -> Asking[list[Row]]:
    """Ask a query of queries.sql, and return its rows."""
    found = yield Ask(sql.query(name), params)
    return found


def one(name: str, params: Mapping[str, Any] | None = None) -> Asking[Row]:
    """Ask a query of queries.sql that gives exactly one row, and return this row."""
    found = yield Ask(sql.query(name), params)
    if not found:
        raise OmnicdcError("a query that always gives a row gave none")
    return found[0]


class Dialogue(Generic[T]):
    """Runs a generator of queries: `ask` is the present query, or None at the end. Then `result` is set."""

    result: T

    def __init__(self, asking: Asking[T]) -> None:
        """Run it up to its first query."""
        self._asking = asking
        self.ask: Ask | None = None
        self._step(lambda: next(asking))

    def answer(self, found: list[Row]) -> None:
        """Give it the rows of the present query."""
        self._step(lambda: self._asking.send(found))

    def refuse(self, exc: psycopg.Error) -> None:
        """Raise in it the error of the present query."""
        self._step(lambda: self._asking.throw(exc))

    def _step(self, step: Callable[[], Ask]) -> None:
        try:
            self.ask = step()
        except StopIteration as end:
            self.ask, self.result = None, end.value


def answered(conn: Connection, asking: Asking[T]) -> T:
    """Run the queries on a connection, and return the result. An error of a query is raised in `asking`."""
    dialogue = Dialogue(asking)
    while ask := dialogue.ask:
        try:
            found = conn.execute(ask.statement, ask.params).fetchall()
        except psycopg.Error as exc:
            dialogue.refuse(exc)
        else:
            dialogue.answer(found)
    return dialogue.result
