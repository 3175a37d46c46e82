"""A held registry is retried with a growing back-off, and at once when its cause may be gone."""

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
    ("failures", "took_s", "expected_s"),
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
def test_the_back_off_doubles_up_to_a_limit(failures: int, took_s: float, expected_s: float) -> None:
    """Regression: failed scans of 45 s were repeated after 1 s, then 2 s. Other registries had to wait."""
    assert back_off_s(failures, took_s) == expected_s


def failing(state: State, name: str, *, took_s: float) -> None:
    """Hold a registry after a failed scan, as `scan` does."""
    projection = state.projections[name]
    projection.hold.start(Fault("the scan took too long"), took_s=took_s)
    projection.scan_due = True


def test_a_slow_scan_that_failed_is_not_repeated_for_each_change(cmp: Cmp, host: Host) -> None:
    """Regression: repeated scans of 45 s delayed the publication of the other registries."""
    with opened(host) as one:
        one.publish()
        failing(one.state, "project", took_s=45.0)
        cmp.upsert("apollo")
        generation = one.publish()
        fault_before = one.state.projections["project"].hold.fault
        cmp.value("select omnicdc.request_rebuild()::text")
        one.publish()

        assert generation
        assert generation.scanners == ("cmp_projects", "git")
        assert fault_before
        # A rebuild scans it at once. Then the file also has the change that was published without it.
        assert one.state.projections["project"].hold.fault is None
    assert [entry["display_name"] for entry in host.projects().values()] == ["apollo"]


def test_a_change_that_a_held_registry_lacks_is_not_published(cmp: Cmp, host: Host) -> None:
    """P5. Regression: the generation listed only held registries that it had retried.

    So `wait` assumed that the change did not concern this registry.
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


def test_a_fast_scan_that_failed_is_retried_at_the_next_change(cmp: Cmp, host: Host) -> None:
    with opened(host) as one:
        one.publish()
        failing(one.state, "project", took_s=QUICK_S / 2)
        cmp.upsert("apollo")
        one.publish()

        assert one.state.projections["project"].hold.fault is None


def test_a_change_of_a_possible_cause_ends_the_back_off(cmp: Cmp, host: Host) -> None:
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


def test_a_held_registry_is_retried_when_the_back_off_ends(cmp: Cmp, host: Host) -> None:
    cmp.upsert("apollo")
    with opened(host) as one:
        one.publish()
        failing(one.state, "project", took_s=45.0)
        without_project = one.publish()
        empty = one.publish()
        one.state.projections["project"].hold.retry_at = time.monotonic()
        one.publish()

        assert without_project
        assert without_project.scanners == ()
        assert empty is None
        assert one.state.projections["project"].hold.fault is None
    assert (host.root / PROJECT).exists()


def test_a_failed_scan_records_its_duration(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_failed_rename_or_fsync_records_the_duration_of_the_write(cmp: Cmp, host: Host, step: str) -> None:
    """Regression: the time of the write was not counted, so a large file was written empty at each cycle."""

    def failing_late(point: str) -> None:
        if point.startswith(f"{step} "):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    cmp.upsert("apollo")
    with opened(host) as one:
        run_once(one.conn, one.state, failing_late)

        assert all(it.hold.took_s > 0 for it in one.state.projections.values())
