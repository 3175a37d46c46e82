"""CMP's table is renamed, moved to another schema, or hidden behind a view."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from faults.schema.arrival import LONGEST_WRITE_S, check_arrival
from psycopg import errors as pg
from support.served_cmp import PROJECTS, ServedCmp, Writers

if TYPE_CHECKING:
    from support.evidence import Evidence
    from support.pace import Pace


MOVES: list[tuple[str, str]] = [
    ("alter table projects rename to ventures", "public.ventures"),
    (("create schema cmp_2; grant usage on schema cmp_2 to WRITER; alter table ventures set schema "
     "cmp_2"), "cmp_2.ventures"),
    (
        """alter table cmp_2.ventures rename to rows; create view cmp_2.ventures as select * from cmp_2.rows;
           grant select, insert, update, delete on cmp_2.ventures to WRITER""",
        "cmp_2.rows",
    ),
    (("drop view cmp_2.ventures; alter table cmp_2.rows rename to projects; alter table cmp_2.projects set "
     "schema public"), "public.projects"),
]  # fmt: skip
"""Statements that are run one after the other, and the table that holds the rows after each."""


@pytest.mark.campaign
def test_status_reports_where_a_moved_table_is_and_how_to_follow_it(
    served: ServedCmp, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5: the files stay as they are while the configured table is missing.

    `omnicdc status` names the new table, and the command and the setting that repair the capture.
    """
    served.serve()
    repaired = []
    chosen = MOVES
    with Writers(served.writer_dsn, pg.UndefinedTable) as writers:
        for statements, now in chosen:
            served.execute(statements)
            writers.table = now
            token = served.write(f"update {now} set status = 'moved' where key like '%3'")
            verdict, barrier = served.wait(token), served.wait()
            before = len(served.host.canonical())
            started = time.monotonic()
            fault = served.fix()
            served.arrived(token)
            repaired.append(time.monotonic() - started)
            with writers.resting():
                check_arrival(served, None)

            assert verdict.status == barrier.status == "capture_broken"
            assert f"its triggers are on {now}" in fault
            assert f"`tables: {{projects: {now}}}`" in verdict.hint
            assert served.table == now
            assert before >= PROJECTS
    served.assert_correct()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5",
        "the table renamed, moved to another schema, renamed with a view in its served, moved back; then "
        "what `omnicdc status` "
        "says: `tables:` in the configuration, `omnicdc install`, a reload",
        times=len(chosen),
        found=f"named each time, and where the table went; right again within {max(repaired):.1f} s; "
        f"{writers.told}",
    )
