"""CMP's table is partitioned, and partitions come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.schema.arrival import check_arrival
from faults.schema.statements import PARTITIONED_BY_TYPE

if TYPE_CHECKING:
    from support.evidence import Evidence
    from support.served_cmp import ServedCmp


ATTACH = "alter table projects attach partition apps for values in ('APP')"
PARTITIONS: list[tuple[str, str]] = [
    ("", "insert into services (name, type) values ('straight', 'SERVICE'), ('straight', 'SERVICE')"),
    ("", "update services set status = 'straight' where key like '%1'"),
    ("", "delete from services where name = 'straight'"),
    ("", "update projects set type = 'TOOL' where key like '%2'"),
    (
        "",
        (
            "set session_replication_role = replica; "
            "update services set status = 'replica' where key like '%4'; reset session_replication_role"
        ),
    ),
    (
        "create table libraries partition of projects for values in ('LIBRARY')",
        "insert into libraries (name, type) values ('late', 'LIBRARY')",
    ),
    ("", "update projects set type = 'LIBRARY' where key like '%3'"),
    ("", "truncate libraries"),
    (
        (
            "create table apps (like projects including defaults); "
            "insert into apps (name, type) values ('brought along', 'APP'); ATTACH"
        ),
        "",
    ),
    ("", "update apps set status = 'attached'"),
    ("alter table projects detach partition apps", "update apps set status = 'detached'"),
    ("ATTACH", "insert into projects (name, type) values ('again', 'APP')"),
    ("drop table apps", ""),
    ("truncate others", ""),
    (
        (
            "alter table projects rename to before; "
            "create table projects (like before including defaults) partition by list (type); INSTALL"
        ),
        "",
    ),
    (
        "alter table projects attach partition before default",
        "insert into before (name, type) values ('below two', 'SERVICE')",
    ),
]  # fmt: skip
"""Run one after the other: statements of CMP's owner, and then the writes."""


@pytest.mark.campaign
@pytest.mark.timeout(240)
def test_partitions_come_and_go_with_their_rows(served: ServedCmp, evidence: Evidence) -> None:
    """P1, P5: every row of a partition arrives in the files, and leaves them with the partition.

    Partitions are created later, attached with rows in them, detached, emptied, dropped, nested, and written
    to directly.
    """
    served.execute(PARTITIONED_BY_TYPE)
    assert served.host.run("install", OMNICDC_DSN=served.cmp.dsn).returncode == 0
    served.serve()
    took = []
    for change, write in PARTITIONS:
        with served.cmp.transaction() as (conn, token):
            for statement in (change.removesuffix("; INSTALL").replace("ATTACH", ATTACH), write):
                conn.execute(statement.encode())
        if change.endswith("INSTALL"):
            assert served.fix().startswith(
                "capture is broken: trigger omnicdc_log_row is missing on public.projects"
            )
        took.append(check_arrival(served, token))
        check_arrival(served, None)
        assert served.faults() == [], (change, write)
    with served.cmp.conn.cursor().copy("copy before (name, type) from stdin") as copy:
        for number in range(300):
            copy.write_row((f"copied {number}", "SERVICE" if number % 2 else "OTHER"))
    check_arrival(served, None)
    served.assert_correct()

    assert "copied 299" in str(served.host.canonical())
    evidence(
        "P1 P5",
        "a partitioned projects: partitions written to straight, by COPY, and with session_replication_role "
        "= replica; created later, attached with rows in them, "
        "detached, emptied, dropped; the whole renamed, and attached below its successor",
        times=len(PARTITIONS) + 1,
        found=f"every row arrived or left; `wait` never reported it before; the slowest took "
        f"{max(took):.1f} s",
    )
