"""Row-level security hides rows of CMP's table from the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.schema.arrival import check_arrival
from support.served_cmp import PROJECTS, ServedCmp

if TYPE_CHECKING:
    import random

    from support.evidence import Evidence, Scale


POLICIES = (
    "",
    "create policy half on projects for select using (key < 'key-5')",
    "create policy everything on projects for select using (true)",
)
"""No policy, which hides every row; a policy that hides half of the rows; a policy that hides none."""


@pytest.mark.campaign
def test_rows_hidden_by_row_level_security_do_not_leave_the_files(
    served: ServedCmp, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P2, P5: no entry leaves a file, whether row-level security hides all rows, some rows or none.

    The registries are held, and `omnicdc status` names the remedy.
    """
    served.serve(OMNICDC_GUARD_SHARE="1")
    chosen = dice.sample(POLICIES, scale(1, len(POLICIES)))
    for policy in chosen:
        with served.cmp.transaction() as (conn, token):
            conn.execute(f"alter table projects enable row level security; {policy}".encode())
            conn.execute("update projects set type = clock_timestamp()::text")
        verdict = served.wait(token)
        before = served.host.canonical()
        answer = served.host.ask("verify", "--all")
        [fault, *_] = served.faults()
        last_fault = served.fix()
        check_arrival(served, token)
        served.execute("drop policy if exists half on projects; drop policy if exists everything on projects")
        served.execute(
            f"alter table projects disable row level security; alter role {served.role} nobypassrls"
        )

        assert verdict.status == "held", policy
        assert len(before) == PROJECTS
        assert answer["verified"] is False
        assert {one["status"] for one in answer["registries"].values()} == {"unreadable"}
        assert "row-level security" in fault
        assert last_fault.endswith(f"as a superuser: `alter role {served.role} bypassrls`")
    served.assert_correct()

    evidence(
        "P1 P2 P5",
        "row-level security switched on for projects, without a policy, with one that hides half of the "
        "rows, with one that hides none",
        times=len(chosen),
        found="no project left a file; held until the role may bypass it, as `omnicdc status` says; "
        "`verify` refuses, too",
    )
