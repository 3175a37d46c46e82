"""P5, P2: values of CMP's rows change without a write while they are scanned.

No generation mixes old and new values, and a wait for old values is not `published`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.session import opened

from omnicdc.errors import DatabaseUnavailable
from omnicdc.pipeline import SCANS, run_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.cmp import Cmp
    from support.host import Host


@pytest.fixture
def labelled(cmp: Cmp) -> Cmp:
    """A CMP whose statuses are the labels of an enum, with two projects."""
    cmp.conn.execute(
        """create type label as enum ('active', 'frozen');
           alter table projects alter status type label using status::label"""
    )
    cmp.conn.execute("insert into projects (name, status) values ('atlas', 'active'), ('gemini', 'active')")
    return cmp


def rename(cmp: Cmp, old: str, new: str) -> None:
    cmp.conn.execute(f"alter type label rename value '{old}' to '{new}'")


def statuses(host: Host) -> set[str]:
    """Return the set of statuses that the files show."""
    return {str(entry["status"]) for entry in (*host.canonical().values(), *host.projects().values())}


def during(point: str, action: Callable[[], None]) -> Callable[[str], None]:
    """Return an observer that runs an action once, when the pipeline has passed a point."""
    left = [action]

    def observe(passed: str) -> None:
        if passed == point and left:
            left.pop()()

    return observe


def test_a_label_renamed_during_a_scan_is_shown_by_all_files_of_one_generation(
    labelled: Cmp, host: Host
) -> None:
    with capture_logs() as logged, opened(host) as one:
        generation = run_once(
            one.conn, one.state, during("scanned cmp_projects", lambda: rename(labelled, "active", "live"))
        )

    assert generation
    assert generation.number == 1
    assert statuses(host) == {"live"}
    assert [event["event"] for event in logged].count("scan_repeated") == 1


def test_a_label_renamed_during_a_targeted_scan_is_shown_everywhere(labelled: Cmp, host: Host) -> None:
    """The change names only one project. The other projects had the old label, too."""
    with opened(host) as one:
        one.publish()
        labelled.conn.execute("insert into projects (name, status) values ('apollo', 'active')")
        run_once(one.conn, one.state, during("scanned project", lambda: rename(labelled, "active", "live")))

    assert statuses(host) == {"live"}


def test_a_label_renamed_between_two_scans_is_shown_everywhere(labelled: Cmp, host: Host) -> None:
    with opened(host) as one:
        one.publish()
        rename(labelled, "active", "live")
        labelled.conn.execute("insert into projects (name, status) values ('apollo', 'live')")
        one.publish()

    assert statuses(host) == {"live"}


def test_a_label_renamed_and_renamed_back_during_a_scan_is_shown_nowhere(labelled: Cmp, host: Host) -> None:
    """After the scan, everything is as before it."""
    rename_to_live = during("scanned cmp_projects", lambda: rename(labelled, "active", "live"))
    rename_to_active = during("scanned project", lambda: rename(labelled, "live", "active"))

    def observe(point: str) -> None:
        rename_to_live(point)
        rename_to_active(point)

    with opened(host) as one:
        run_once(one.conn, one.state, observe)

    assert statuses(host) == {"active"}


def test_nothing_is_published_while_the_labels_change_in_every_scan(labelled: Cmp, host: Host) -> None:
    names = iter(range(100))
    last = ["active"]

    def observe(point: str) -> None:
        if point == "scanned cmp_projects":
            old = last[0]
            last[0] = f"label {next(names)}"
            rename(labelled, old, last[0])

    with opened(host) as one:
        with pytest.raises(DatabaseUnavailable, match=f"during each of {SCANS} scans"):
            run_once(one.conn, one.state, observe)
        nothing = host.content()
        one.publish()

    assert nothing == {}
    assert statuses(host) == {last[0]}


def test_a_wait_is_not_published_before_the_files_show_the_new_label(labelled: Cmp, host: Host) -> None:
    with opened(host) as one:
        one.publish()
        before = labelled.wait().status
        rename(labelled, "active", "live")
        renamed = labelled.wait(timeout_s=0.0).status
        one.run_periodic_tasks()
        after_periodic_tasks = labelled.wait(timeout_s=0.0).status
        one.publish()
        after = labelled.wait().status

    assert (before, renamed, after_periodic_tasks, after) == ("published", "timeout", "timeout", "published")
    assert statuses(host) == {"live"}


def test_a_capture_that_breaks_during_a_scan_is_reported_at_once(cmp: Cmp, host: Host) -> None:
    """Regression: it was noticed, but reported only at the next heartbeat, up to a minute later."""
    cmp.upsert("apollo")

    def disable() -> None:
        cmp.conn.execute("alter table projects disable trigger omnicdc_log_row")

    with capture_logs() as logged, opened(host) as one:
        run_once(one.conn, one.state, during("scanned cmp_projects", disable))
        one.run_periodic_tasks()

    assert [event["event"] for event in logged].count("capture_broken") == 1
