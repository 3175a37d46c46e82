"""Rows change without a trigger that logs it, and nothing is wrong when the daemon looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.schema.arrival import check_arrival
from faults.schema.capture import EDITED_FUNCTION, TRIGGERS
from faults.schema.statements import NEW_TABLE
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    import random
    from typing import LiteralString

    from support.evidence import Evidence, Scale
    from support.served_cmp import ServedCmp


ALL_ON: LiteralString = "alter table projects " + ", ".join(
    f"enable always trigger {name}" for name in TRIGGERS
)
"""Enables omnicdc's triggers again."""

SILENT: list[tuple[str, str]] = [
    ("update by ALTER TYPE", "alter table projects alter status type text using status || '!'"),
    (
        "columns that change places",
        (
            "alter table projects rename status to s; alter table projects rename type to status; "
            "alter table projects rename s to type"
        ),
    ),
    (
        "triggers off for one transaction",
        f"alter table projects disable trigger all; update projects set status = 'unseen'; {ALL_ON}",
    ),
    (
        "triggers off for one transaction, and another table's rows",
        f"alter table projects disable trigger all; delete from projects where key like '%3'; {ALL_ON}",
    ),
    (
        "functions edited for one transaction",
        f"{EDITED_FUNCTION.format('log_update_1')}; update projects set key = key || '?'; RESTORE",
    ),
    (
        "another table in its served, with triggers",
        f"{NEW_TABLE}; update projects set status = 'another'; INSTALL",
    ),
]
"""Transactions that change rows without a trigger that logs it. At their end, the capture is intact again."""


@pytest.mark.campaign
def test_an_unlogged_change_is_not_reported_as_published_before_it_is(
    served: ServedCmp, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P1, P5, P8: the capture is intact when it is checked, but the log lacks the change.

    The change is published all the same, and `wait` never reports it as published before.
    """
    served.serve()
    took = []
    chosen = [case for _ in range(scale(1, 3)) for case in dice.sample(SILENT, scale(2, len(SILENT)))]
    for what, statements in chosen:
        function = served.cmp.value("select pg_get_functiondef('omnicdc.log_update_1'::regproc)")
        with db.connect(served.cmp.dsn) as conn, conn.transaction():
            token = db.fetch_one(conn, "token")["token"]
            script = (
                statements.replace("WRITER", served.writer)
                .replace("RESTORE", function)
                .removesuffix("; INSTALL")
            )
            conn.execute(script.encode())
            if statements.endswith("INSTALL"):
                install.install(conn, projects())
        took.append(check_arrival(served, token))
        check_arrival(served, None)
        assert served.faults() == [], what
    served.assert_correct()

    evidence(
        "P1 P5 P8",
        "rows changed where no trigger looks, and all sound again in the same transaction: ALTER TYPE ... "
        "USING, columns that change "
        "places, triggers off and on, a function edited and restored, another table with other rows in its "
        "place",
        times=len(chosen),
        found=f"`wait` never reported published before the files held it (asked without a pause); published "
        f"within {max(took):.1f} s",
    )
