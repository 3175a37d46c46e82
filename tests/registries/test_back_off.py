"""A held registry is left alone for longer and longer, and tried at once when its cause may be gone."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest
from support.host import PROJECT
from support.session import opened

from omnicdc.errors import RegistryError
from omnicdc.model import Change, Fault
from omnicdc.pipeline import run_once
from omnicdc.registries import scan
from omnicdc.registries.hold import MAX_BACK_OFF_S, QUICK_S, back_off_s

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

    from omnicdc.state import State


@pytest.mark.parametrize(
    ("failures", "took_s", "rest_s"),
    [
        (1, 45.0, 90.0),
        (2, 45.0, 180.0),
        (3, 45.0, MAX_BACK_OFF_S),
        (99, 0.5, 32.0),
        (99, 0.001, 0.064),
        (10_000, 45.0, MAX_BACK_OFF_S),
        (1, 0.0, 0.0),
    ],
)
def test_it_doubles_up_to_a_bound(failures: int, took_s: float, rest_s: float) -> None:
    """The first scan of 45 s that failed was repeated after a second, the second after two.

    The others starved meanwhile.
    """
    assert back_off_s(failures, took_s) == rest_s


def failing(state: State, name: str, *, took_s: float) -> None:
    """Have a registry be held for what cannot be scanned, as `scan` does it."""
    projection = state.projections[name]
    projection.hold.start(Fault("the scan took too long"), took_s=took_s)
    projection.scan_due = True


def test_a_scan_that_takes_long_and_fails_is_not_repeated_for_each_change(cmp: Cmp, host: Host) -> None:
    """Scans of 45 s, one after the other, kept the others from being published."""
    with opened(host) as one:
        one.publish()
        failing(one.state, "project", took_s=45.0)
        cmp.upsert("apollo")
        generation = one.publish()
        left_alone = one.state.projections["project"].hold.fault
        cmp.value("select omnicdc.request_rebuild()::text")
        one.publish()

        assert generation
        assert generation.scanners == ("cmp_projects", "git")
        assert left_alone
        # The rebuild asks for it at once, and it shows what it was left out of.
        assert one.state.projections["project"].hold.fault is None
    assert [entry["display_name"] for entry in host.projects().values()] == ["apollo"]


def test_what_it_was_left_out_of_is_not_called_published(cmp: Cmp, host: Host) -> None:
    """P5: the generation told only of the held registries that it had tried.

    So the change seemed not to concern this one.
    """
    with opened(host) as one:
        one.publish()
        failing(one.state, "project", took_s=45.0)
        with cmp.transaction() as (conn, token):
            cmp.upsert("apollo", conn=conn)
        generation = one.publish()
        verdict = cmp.wait(token)

        assert generation
        assert list(generation.held) == ["PROJECT_REGISTRY_V1.yaml"]
        assert verdict.status == "held"
        assert verdict.withheld == {"PROJECT_REGISTRY_V1.yaml"}


def test_a_quick_one_is_tried_again_by_the_next_change(cmp: Cmp, host: Host) -> None:
    with opened(host) as one:
        one.publish()
        failing(one.state, "project", took_s=QUICK_S / 2)
        cmp.upsert("apollo")
        one.publish()

        assert one.state.projections["project"].hold.fault is None


def test_what_may_have_been_its_cause_ends_the_rest(cmp: Cmp, host: Host) -> None:
    cmp.upsert("apollo")
    with opened(host) as one:
        one.publish()
        hold, state = one.state.projections["project"].hold, one.state
        for cause in (state.sweep, lambda: state.replace_capture(state.capture)):
            failing(state, "project", took_s=45.0)
            rested = hold.backing_off
            cause()

            assert (rested, hold.backing_off) == (True, False)
        failing(state, "project", took_s=45.0)
        state.due_now({"project": None}, [Change("rebuild", None, None)])
        assert not hold.backing_off


def test_it_is_tried_again_when_its_time_has_come(cmp: Cmp, host: Host) -> None:
    cmp.upsert("apollo")
    with opened(host) as one:
        one.publish()
        failing(one.state, "project", took_s=45.0)
        nothing = one.publish()
        again = one.publish()
        one.state.projections["project"].hold.retry_at = time.monotonic()
        one.publish()

        assert nothing
        assert nothing.scanners == ()
        assert again is None
        assert one.state.projections["project"].hold.fault is None
    assert (host.root / PROJECT).exists()


def test_what_a_scan_reports_carries_how_long_it_took(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_arguments: object) -> None:
        clock[0] += 45.0
        raise RegistryError("the scan took too long")

    clock = [0.0]
    with opened(host) as one:
        monkeypatch.setattr(scan, "_rebuild", slow)
        monkeypatch.setattr("omnicdc.registries.scan.time.monotonic", lambda: clock[0])
        one.publish()
        monkeypatch.undo()

        assert [it.hold.took_s for it in one.state.projections.values()] == [45.0] * 3


@pytest.mark.parametrize("step", ["rename", "fsync_directory"])
def test_a_file_that_was_written_and_cannot_be_put_there_rests_for_what_writing_it_took(
    cmp: Cmp, host: Host, step: str
) -> None:
    """It was taken for an attempt of no time: a large file was written again at each look."""

    def failing_late(point: str) -> None:
        if point.startswith(f"{step} "):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    cmp.upsert("apollo")
    with opened(host) as one:
        run_once(one.conn, one.state, failing_late)

        assert all(it.hold.took_s > 0 for it in one.state.projections.values())
