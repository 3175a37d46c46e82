"""Rows of CMP's table: save, delete and restore them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.cmp import Cmp


def save_rows(cmp: Cmp) -> None:
    """Copy all rows of the table to the table `kept`."""
    cmp.conn.execute("drop table if exists kept; create table kept as select * from projects")


def restore_rows(cmp: Cmp) -> None:
    """Insert the saved rows that are missing."""
    cmp.conn.execute("insert into projects select * from kept on conflict (id) do nothing")


def project_ids(cmp: Cmp) -> list[str]:
    return [
        project for (project,) in cmp.conn.execute("select id::text from projects order by id").fetchall()
    ]


def truncate_table(cmp: Cmp, _ids: Sequence[str]) -> None:
    cmp.conn.execute("truncate projects")


def delete_in_one_statement(cmp: Cmp, ids: Sequence[str]) -> None:
    cmp.conn.execute("delete from projects where id = any (%s)", [list(ids)])
