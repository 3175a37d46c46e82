"""The capture is broken, or rights are revoked: `omnicdc status` names the cause and the remedy."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from faults.schema.arrival import LONGEST_WRITE_S
from faults.schema.capture import EDITED_FUNCTION, TRIGGERS
from faults.schema.statements import CHANGES, NEW_TABLE
from psycopg import errors as pg
from support.host import COMMAND
from support.served_cmp import ServedCmp, Writers
from support.terminal import on_a_terminal

if TYPE_CHECKING:
    import random

    from support.evidence import Evidence, Scale
    from support.pace import Pace


PARTITIONED = """
alter table projects rename to projects_before;
create table projects (like projects_before including defaults) partition by list (type);
alter table projects attach partition projects_before default;
grant select, insert, update, delete on projects to WRITER
"""

DEMOTED = "alter table projects enable trigger user"
INVOKER = "alter function omnicdc.log_row_1() security invoker"
UNSAFE = ("drop ", INVOKER)
"""Beginnings of statements that are run while no writer writes.

PostgreSQL's own DROP locks a partition before its table, and a writer locks them in the other order. A
function that does not run as its owner any more fails for a writer without rights on omnicdc. No trigger can
prevent that.
"""

BREAKS: list[tuple[str, str]] = [
    ("alter table projects disable trigger all", "is disabled on"),
    ("alter table projects disable trigger user", "is disabled on"),
    *(
        (f"alter table projects disable trigger {name}", f"trigger {name} is disabled on")
        for name in TRIGGERS
    ),
    (DEMOTED, "does not fire always"),
    ("alter table projects enable replica trigger omnicdc_log_update", "does not fire always"),
    *((f"drop trigger {name} on projects", f"trigger {name} is missing on") for name in TRIGGERS),
    ("drop function omnicdc.log_row_1() cascade", "omnicdc_log_row is missing on"),
    ("drop function omnicdc.log_update_1() cascade", "omnicdc_log_update is missing on"),
    (EDITED_FUNCTION.format("log_row_1"), "function omnicdc.log_row_1() was edited"),
    (EDITED_FUNCTION.format("log_update_1"), "function omnicdc.log_update_1() was edited"),
    (INVOKER, "function omnicdc.log_row_1() was edited"),
    ("alter function omnicdc.log_update_1() reset search_path", "function omnicdc.log_update_1() was edited"),
    (
        "alter function omnicdc.log_update_1() owner to current_user",
        "function omnicdc.log_update_1() was edited",
    ),
    ("truncate omnicdc.source", "no table is watched"),
    (NEW_TABLE, "is missing on"),
    (PARTITIONED, "is missing on"),
    (NEW_TABLE, "is missing on"),
]  # fmt: skip
"""Ways to break the capture, and the cause that is reported."""


@pytest.mark.timeout(300)
def test_a_broken_capture_is_reported_and_repaired_by_the_command_in_the_report(
    served: ServedCmp, dice: random.Random, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5, P8: no write fails or waits, is reported as published, or is lost after the repair."""
    daemon = served.serve()
    chosen = dice.sample(BREAKS, scale(1, len(BREAKS)))
    noticed, repaired = [], []
    with Writers(served.writer_dsn, pg.UndefinedTable, pg.InsufficientPrivilege) as writers:
        for statement, cause in chosen:
            seen, broken = len(daemon.events), time.monotonic()
            with writers.resting() if statement.startswith(UNSAFE) else nullcontext():
                served.execute(statement)
                by_owner = statement in (DEMOTED, INVOKER)
                token = write_as_owner(served, statement) if by_owner else served.write(*CHANGES)
                verdicts = [served.wait(token).status, served.wait().status]
                [fault, *_] = served.faults()
                if cause != "no table is watched":
                    daemon.wait_for("capture_broken", after=seen)
                noticed.append(time.monotonic() - broken)
                if len(noticed) % 6 == 1:
                    assert_same_report(served, fault)
                started = time.monotonic()
                served.fix()
                served.arrived(token)
                repaired.append(time.monotonic() - started)
            with writers.resting():
                served.arrived()
                assert served.holds(), statement

            assert verdicts == ["capture_broken", "capture_broken"], statement
            assert fault.startswith("capture is broken: ")
            assert cause in fault, statement
            assert "`omnicdc install`" in fault, statement
    seldom = with_default_polling(served, pace) if scale(0, 1) else 0.0
    served.assert_correct()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    assert seldom < pace.allows(7)
    evidence(
        "P1 P4 P5 P8",
        "triggers disabled, demoted from ALWAYS, dropped; their functions edited, dropped, given to others; "
        "the table dropped "
        "and made again with its rows, or made the partition of a new one (triggers and functions dropped "
        "while no session wrote); then `omnicdc install`, as `omnicdc status` says",
        times=len(chosen),
        found=f"named each time, `wait` reported capture_broken at once; the daemon noticed within "
        f"{max(noticed):.1f} s, looking every 0.2 s, and "
        f"within {seldom:.1f} s, looking as it does by itself; what was missed was published within "
        f"{max(repaired):.1f} s of the command; {writers.told}",
    )


def assert_same_report(served: ServedCmp, fault: str) -> None:
    """Check that `omnicdc status` reports the same fault as JSON and on a terminal."""
    answer = served.host.ask("status")
    text = on_a_terminal([COMMAND, "status"], served.host.env | {"NO_COLOR": "1"}, columns=1000).text
    assert answer["healthy"] is False
    assert answer["faults"][0] == fault
    assert answer["capture"]["fault"] in fault
    cause, _, remedy = fault.partition(" - ")
    assert cause in text
    assert remedy in text


def with_default_polling(served: ServedCmp, pace: Pace) -> float:
    """Break the capture under a daemon that polls as seldom as it does by default.

    Returns the longest time until the daemon noticed.
    """
    served.daemon.stop()
    served.daemon = served.host.daemon(OMNICDC_POLL_S="5")
    took = []
    for trigger in TRIGGERS:  # several times: the daemon may poll just after the first one
        seen, started = len(served.daemon.events), time.monotonic()
        served.execute(f"alter table projects disable trigger {trigger}")
        assert served.wait().status == "capture_broken"
        assert time.monotonic() - started < pace.allows(2)
        served.daemon.wait_for("capture_broken", after=seen)
        took.append(time.monotonic() - started)
        served.fix()
        served.arrived()
    return max(took)


def write_as_owner(served: ServedCmp, broken_by: str) -> str:
    """Write as CMP's owner; returns the token.

    Where the triggers are not ALWAYS any more, write as replication does, which fires only ALWAYS triggers.
    """
    with served.cmp.transaction() as (conn, token):
        if broken_by == DEMOTED:
            conn.execute("set local session_replication_role = replica")
        for statement in CHANGES:
            conn.execute(statement.encode())
    return token


RIGHTS: list[tuple[str, str]] = [
    ("revoke select (status) on projects from omnicdc_daemon", "SELECT on column status of public.projects"),
    ("revoke select (id) on projects from omnicdc_daemon", "SELECT on column id of public.projects"),
    ("revoke usage on schema omnicdc from omnicdc_daemon", "USAGE on schema omnicdc"),
    ("revoke select on omnicdc.change from omnicdc_daemon", "SELECT on omnicdc.change"),
    ("revoke select on omnicdc.source from omnicdc_daemon", "SELECT on omnicdc.source"),
    ("revoke update on omnicdc.consumer from omnicdc_daemon", "UPDATE on omnicdc.consumer"),
    ("revoke all on omnicdc.history from omnicdc_daemon", "INSERT on omnicdc.history"),
    (
        "alter table projects drop column status; alter table projects add column status text default 'back'",
        "SELECT on column status of public.projects",
    ),
]
"""Ways to take a right from the daemon, and the right that is reported."""


@pytest.mark.timeout(300)
@pytest.mark.campaign
def test_revoked_rights_are_reported_and_granted_again_by_install(
    served: ServedCmp, dice: random.Random, evidence: Evidence, pace: Pace
) -> None:
    """P1, P4, P5: a daemon that may not read or report any more is not reported as stopped.

    Its files stay. They are up to date again after `omnicdc install`.
    """
    served.serve()
    chosen = dice.sample(RIGHTS, len(RIGHTS))
    repaired = []
    with Writers(served.writer_dsn) as writers:
        for statement, cause in chosen:
            before = len(served.host.canonical())
            served.execute(statement)
            token = served.write(*CHANGES)
            verdict = served.wait(token)
            kept = len(served.host.canonical())
            started = time.monotonic()
            fault = served.fix()
            served.arrived(token)
            repaired.append(time.monotonic() - started)
            with writers.resting():
                served.arrived()
                assert served.holds(), statement

            assert verdict.status == "capture_broken", statement
            assert cause in verdict.detail
            assert cause in fault
            assert kept > before / 2
    served.assert_correct()

    assert writers.broken == []
    assert writers.slowest_s < pace.allows(LONGEST_WRITE_S)
    evidence(
        "P1 P4 P5",
        "rights revoked from omnicdc_daemon: columns of projects, the schema, the log, its own row, the "
        "history; a watched "
        "column dropped and added again, which loses its grant; then `omnicdc install`, as `omnicdc status` "
        "says",
        times=len(chosen),
        found=f"named each time, the files stay; right again within {max(repaired):.1f} s of the command; "
        f"{writers.told}",
    )
