"""Columns of CMP's table are dropped, renamed or given another type."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from faults.schema.arrival import LONGEST_WRITE_S, check_arrival
from psycopg import errors as pg
from support.host import until
from support.served_cmp import ServedCmp, Writers

if TYPE_CHECKING:
    import random

    from support.evidence import Evidence, Scale
    from support.pace import Pace


ALTERED: list[tuple[str, str, bool]] = [
    ("drop column status", "add column status text", False),
    ("drop column key", "add column key text", False),
    ("drop column metadata_", "add column metadata_ jsonb default '{}'", False),
    ("rename column status to state", "rename column state to status", False),
    ("rename column metadata_ to metadata", "rename column metadata to metadata_", False),
    ("alter metadata_ type text", "alter metadata_ type jsonb using metadata_::jsonb", False),
    ("alter metadata_ type json using metadata_::json", "alter metadata_ type jsonb", True),
    ("alter status type integer using 7", "alter status type text", True),
    ("alter status type json using to_json(status)", "alter status type text", True),
    ("alter status type text[] using array[status]", "alter status type text using status[1]", True),
    ("alter status type mood using 'fine'", "alter status type text", True),
    ("alter status type short", "alter status type text", True),
    ("alter status type varchar(40) using left(status, 40)", "alter status type text", True),
    (
        "alter key type bytea using convert_to(key, 'UTF8')",
        "alter key type text using convert_from(key, 'UTF8')", True,
    ),
    (
        "alter id drop default, alter id type text, alter id set default gen_random_uuid()::text",
        "alter id drop default, alter id type uuid using id::uuid, alter id set default gen_random_uuid()",
        True,
    ),
    ("alter id type project_id", "alter id type uuid", True),
    ("rename column id to uuid", "rename column uuid to id", False),
    ("drop column id", "add column id uuid primary key default gen_random_uuid()", False),
    ("drop column description cascade", "add column description text", True),
    ("alter description type varchar(90)", "alter description type text", True),
    ("drop column created_at", "add column created_at timestamptz not null default now()", True),
    ("rename column updated_at to touched_at", "rename column touched_at to updated_at", True),
    ("add column extra point default '(1,2)'", "drop column extra", True),
]  # fmt: skip
"""A change of a column, what reverts it, and whether every registry can be read meanwhile."""

TYPES = (
    "create domain short as varchar(90); create domain project_id as uuid; "
    "create type mood as enum ('fine', 'bad')"
)


@pytest.mark.timeout(300)
def test_a_changed_column_holds_only_the_registries_that_cannot_be_read(
    served: ServedCmp, dice: random.Random, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5, P6: CMP's writes go on, and a registry that can still be read goes on.

    A registry that cannot be read is held with the reason, and recovers when the column is back.
    """
    served.execute(TYPES)
    served.serve()
    chosen = dice.sample(ALTERED, scale(2, len(ALTERED)))
    held = 0
    with Writers(served.writer_dsn, pg.UndefinedColumn) as writers:
        for change, undo, readable in chosen:
            served.execute(f"alter table projects {change}")
            token = served.write("insert into projects (name) values ('meanwhile')")
            if readable:
                with writers.resting():
                    check_arrival(served, None)
                served.arrived(token)
                faults = served.faults()
            else:
                until(partial(served.has_verdict, "held", token), f"held: {change}")
                faults = served.faults()
                held += 1
            served.execute(f"alter table projects {undo}")
            served.wait_until_repaired()
            with writers.resting():
                check_arrival(served, None)
            served.arrived(token)

            assert readable is not bool(faults), (change, faults)
            assert all("is held: " in fault for fault in faults)
    served.assert_correct()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5 P6",
        "a column dropped, renamed, retyped (integer, json, text[], an enum, a domain, varchar, bytea) and "
        "put back: watched "
        "ones, the id, and ones that no registry reads",
        times=len(chosen),
        found=f"{len(chosen) - held} could be read on and arrived, {held} held the registries that read the "
        f"column until it was back; "
        f"all right afterwards; {writers.told}",
    )
