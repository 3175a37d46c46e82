"""Rows that PostgreSQL cannot return are found among thousands by bisection.

An error that no row causes is not blamed on a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sources import TABLES

from omnicdc.errors import Interrupted, RegistryError
from omnicdc.model import ALL
from omnicdc.registries.rows import MOST_UNREADABLE, ROWS, readable, search
from omnicdc.registries.scanners import scanners
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from support.files import Files

UNDECODABLE = '{"github_url": "\\ud800"}'
PROJECT = scanners()["project"]


def spoil(files: Files, names: str) -> list[str]:
    """Store values that PostgreSQL accepts and cannot return; return the ids of their rows."""
    files.cmp.conn.execute("alter table projects alter metadata_ type json")
    found = files.cmp.conn.execute(
        "update projects set metadata_ = %s where name like %s returning id::text", [UNDECODABLE, names]
    ).fetchall()
    return [project for (project,) in found]


def test_one_unreadable_row_among_many_is_found(files: Files) -> None:
    """P6: the table has more rows than are fetched at once."""
    files.cmp.fill(ROWS + 1)
    [bad] = spoil(files, "project-7")

    rows, unreadable = readable(files.conn, PROJECT, TABLES, ALL)

    assert len(rows) == ROWS
    assert [*unreadable] == [bad]
    assert "invalid input syntax for type json" in unreadable[bad]


def test_too_many_unreadable_rows_are_an_error_of_the_registry(files: Files) -> None:
    files.cmp.fill(MOST_UNREADABLE + 2)
    spoil(files, "%")

    with pytest.raises(RegistryError, match=f"as more than {MOST_UNREADABLE} others"):
        readable(files.conn, PROJECT, TABLES, ALL)


def test_a_column_that_is_dropped_meanwhile_is_not_blamed_on_a_row(files: Files) -> None:
    files.cmp.fill(8)
    # The ids are random, and the search begins with the highest. So it reads the lowest after the drop.
    spoil(files, files.cmp.value("select name from projects order by id limit 1"))
    unreadable: dict[str, str] = {}
    found = search(files.conn, PROJECT, TABLES, ALL, unreadable)
    next(found)
    files.cmp.conn.execute("alter table projects drop column type")

    with pytest.raises(RegistryError, match='column "type" does not exist'):
        list(found)
    assert unreadable == {}


def test_a_stop_ends_the_search(files: Files) -> None:
    files.cmp.fill(4)
    stop = Stop()
    stop()

    with pytest.raises(Interrupted):
        list(search(files.conn, PROJECT, TABLES, ALL, {}, stop=stop))
