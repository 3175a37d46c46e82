"""Reads from CMP what the entry of one project in one registry should be, in the caller's snapshot."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc.errors import RegistryError
from omnicdc.model import ALL, Fault
from omnicdc.registries.rows import NOT_AS_EXPECTED, readable, rows_of_key, statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.db import Connection
    from omnicdc.formats.item import Item
    from omnicdc.formats.layout import Layout
    from omnicdc.model import Inputs
    from omnicdc.registries.scanners import Row, Scanner
    from omnicdc.registries.tables import Tables

_SHARED = pgsql.SQL('select * from ({}) s where s.github_url collate "C" ilike %s')
"""This collation ignores the case of A to Z only, which takes half the time."""

LIKENESS = 200
"""Longest end of a URL that is matched, in characters. Owner and name on GitHub have 139 at most."""

NOT_IN_CMP = "the project is not in CMP"
NO_REPOSITORY = "its URL names no repository of GitHub"

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_FOLDED = re.compile("i\u0307|[^a-z0-9./_-]+")
"""Characters of a key that may come from letters whose case the collation distinguishes. So may `k`."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The entry that the registry should have: `items`. If there are none, `why` is the reason."""

    scanner: Scanner
    layout: Layout
    entry_key: str = ""
    name: str | None = None
    """The project's name, if the registry sorts by it."""
    items: tuple[Item, ...] = ()
    """Usually one. Several if the query returns several rows of the key."""
    why: str = ""
    in_cmp: bool | None = None
    """None if CMP could not be read."""
    rows: tuple[Row, ...] = ()
    """The rows of CMP from which the entry is rendered."""
    fault: Fault | None = None
    """Why this is not known, or why the project is in quarantine."""

    def filtered(self) -> Expectation:
        """Return it for a project that CMP has, and of which the query returns no row."""
        return replace(self, why=left_out(self.scanner))


def expect(conn: Connection, scanner: Scanner, tables: Tables, inputs: Inputs, project: str) -> Expectation:
    """Return the entry that a registry should have for a project. An error of this registry is in `fault`."""
    layout = scanner.layout
    try:
        rows, unreadable = _rows_of(conn, scanner, tables, project)
        if unreadable:
            return Expectation(scanner, layout, in_cmp=True, fault=quarantine_fault(unreadable[project]))
        if not rows:
            return Expectation(scanner, layout, why=NOT_IN_CMP, in_cmp=False)
        entry_key = project
        if scanner.grouped:
            entry_key = scanner.key(rows[0])
            if not entry_key:
                return Expectation(scanner, layout, why=NO_REPOSITORY, in_cmp=True, rows=(rows[0],))
            rows = _rows_of_repository(conn, scanner, tables, entry_key)
    except RegistryError as exc:
        return Expectation(scanner, layout, fault=Fault(exc.message, exc.hint))
    return _rendered(scanner, layout, entry_key, rows, inputs)


def left_out(scanner: Scanner) -> str:
    """Return why a project that is in CMP has no entry."""
    return "it is excluded" if scanner.builtin else "the registry's query or template leaves it out"


def is_uuid(text: str) -> bool:
    """Return True if a text is a UUID. omnicdc's own registries have no other keys."""
    return _UUID.fullmatch(text.strip().lower()) is not None


def _rows_of(
    conn: Connection, scanner: Scanner, tables: Tables, key: str
) -> tuple[list[Row], Mapping[str, str]]:
    """Return the rows of a key, and the reason if they cannot be read. A key of another type has none."""
    if scanner.builtin and not is_uuid(key):
        return [], {}
    return rows_of_key(conn, scanner, tables, key)


def quarantine_fault(why: str) -> Fault:
    """Return the fault of a project in quarantine: it has no entry because its row cannot be shown."""
    return Fault(f"held back: {why}", "fix the project's row in CMP")


def _rendered(
    scanner: Scanner, layout: Layout, entry_key: str, rows: Sequence[Row], inputs: Inputs
) -> Expectation:
    try:
        entry = scanner.render(entry_key, rows, inputs)
        items = tuple(map(layout.item, layout.cores(entry.data))) if entry else ()
    except Exception as exc:  # noqa: BLE001 - as in the registry: a row that cannot be shown is in quarantine
        fault = quarantine_fault(f"{type(exc).__name__}: {exc}")
        return Expectation(scanner, layout, entry_key, in_cmp=True, fault=fault)
    name = entry.sort[0] if entry and scanner.named else None
    why = "" if items else left_out(scanner)
    return Expectation(scanner, layout, entry_key, name, items, why, in_cmp=True, rows=(*rows,))


def _rows_of_repository(conn: Connection, scanner: Scanner, tables: Tables, entry_key: str) -> list[Row]:
    """Return the rows of all projects of one repository. Only rows with a similar URL are fetched."""
    query = _SHARED.format(statement(scanner, tables, targeted=False))
    try:
        with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
            rows = cursor.execute(query, [_likeness(entry_key)]).fetchall()
    except NOT_AS_EXPECTED:  # one of the rows cannot be read
        rows, _ = readable(conn, scanner, tables, ALL)
    return [row for row in rows if scanner.key(row) == entry_key]


def _likeness(key: str) -> str:
    r"""Return a LIKE pattern that matches every URL with this key, and few others.

    Each form of a URL ends in its owner and name. `_` matches any character, so it also matches itself. It
    replaces `k`, because `k` is also the lower case of the Kelvin sign. Only the end of a very long URL is
    used, because each `%` needs some of the server's stack.
    """
    owner_and_name = "/".join(key.rsplit("/", 2)[-2:])
    return f"%{_FOLDED.sub('%', owner_and_name[-LIKENESS:]).replace('k', '_')}%"
