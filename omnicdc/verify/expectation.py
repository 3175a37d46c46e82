"""What one project's entry in one registry should be, read from CMP in the reader's snapshot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc.errors import RegistryError
from omnicdc.model import ALL, Fault
from omnicdc.registries.rows import NOT_AS_EXPECTED, qualified, readable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.db import Connection
    from omnicdc.formats.item import Item
    from omnicdc.formats.layout import Layout
    from omnicdc.model import Inputs
    from omnicdc.registries.scanners import Row, Scanner

_SHARED = pgsql.SQL('select * from ({}) s where s.github_url collate "C" ilike %s')
"""The collation folds A to Z only, in half the time."""

LIKENESS = 200
"""Characters. GitHub's owners and names have 139 at most."""

_FOLDED = re.compile("i\u0307|[^a-z0-9./_-]+")
"""What lower case may have made of letters that the collation above does not fold; `k` is one more."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What should be there: `item`, or nothing, for the reason that `why` tells."""

    scanner: Scanner
    layout: Layout
    entry_key: str = ""
    name: str | None = None
    """The project's, where the registry sorts by it."""
    item: Item | None = None
    why: str = ""
    in_cmp: bool | None = None
    """None if CMP could not be read."""
    fault: Fault | None = None
    """Why this is not known, or why the project is held back."""


def expect(conn: Connection, scanner: Scanner, table: str, inputs: Inputs, project: str) -> Expectation:
    """Work out what a registry should hold of a project; never raises for what one registry cannot tell."""
    layout = scanner.layout
    try:
        rows, unreadable = readable(conn, scanner, table, [project])
        if unreadable:
            return Expectation(scanner, layout, in_cmp=True, fault=held_back(unreadable[project]))
        if not rows:
            return Expectation(scanner, layout, why="the project is not in CMP", in_cmp=False)
        entry_key = project
        if scanner.grouped:
            entry_key = scanner.key(rows[0])
            if not entry_key:
                return Expectation(scanner, layout, why="its URL names no repository of GitHub", in_cmp=True)
            rows = _sharing(conn, scanner, table, entry_key)
    except RegistryError as exc:
        return Expectation(scanner, layout, fault=Fault(exc.message, exc.hint))
    return _rendered(scanner, layout, entry_key, rows, inputs)


def held_back(why: str) -> Fault:
    """Explain that a project has no entry, as its row cannot be shown."""
    return Fault(f"held back: {why}", "fix the project's row in CMP")


def _rendered(
    scanner: Scanner, layout: Layout, entry_key: str, rows: Sequence[Row], inputs: Inputs
) -> Expectation:
    try:
        entry = scanner.render(entry_key, rows, inputs)
        item = layout.item(layout.core(entry.data)) if entry else None
    except Exception as exc:  # noqa: BLE001 - as the registry does: a row that cannot be shown is held back
        fault = held_back(f"{type(exc).__name__}: {exc}")
        return Expectation(scanner, layout, entry_key, in_cmp=True, fault=fault)
    name = entry.sort[0] if entry and not scanner.grouped else None
    return Expectation(scanner, layout, entry_key, name, item, "" if item else "it is excluded", in_cmp=True)


def _sharing(conn: Connection, scanner: Scanner, table: str, entry_key: str) -> list[Row]:
    """Return the rows of all projects of one repository: who is not even like it is not fetched."""
    query = _SHARED.format(pgsql.SQL(scanner.query).format(table=qualified(table)))
    try:
        with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
            rows = cursor.execute(query, [_likeness(entry_key)]).fetchall()
    except NOT_AS_EXPECTED:  # one that cannot be read is in the way
        rows, _ = readable(conn, scanner, table, ALL)
    return [row for row in rows if scanner.key(row) == entry_key]


def _likeness(key: str) -> str:
    r"""Return a pattern that matches every URL with this key, and few others.

    Whatever the way to write it, a URL ends in its owner and name; `_` stands for itself among others,
    and for `k`, which is the lower case of the Kelvin sign too. For megabytes the end has to do: each `%`
    takes its part of the server's stack.
    """
    owner_and_name = "/".join(key.rsplit("/", 2)[-2:])
    return f"%{_FOLDED.sub('%', owner_and_name[-LIKENESS:]).replace('k', '_')}%"
