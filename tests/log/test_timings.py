"""Timings: the time of each stage is counted once; stages are listed in the order in which changes pass them.

The file also tests the delay that collects changes, and garbage collection during a rebuild.
"""

from __future__ import annotations

import gc
import time

import pytest

from omnicdc.daemon.loop import LONG_DELAY_S, MANY, SHORT_DELAY_S, coalesce_delay_s
from omnicdc.log.timings import ORDER, Timings
from omnicdc.registries.gc_pause import without_garbage_collection


def test_the_time_of_an_inner_stage_is_not_counted_for_the_outer_one() -> None:
    stages = Timings()
    began = time.perf_counter()
    with stages("render"):
        busy(0.01)
        with stages("scan"):
            busy(0.02)
        with stages("scan"):
            busy(0.02)
    whole = (time.perf_counter() - began) * 1000

    assert stages.ms["scan"] >= 40
    assert stages.ms["render"] >= 10
    assert sum(stages.ms.values()) <= whole


def test_stages_are_listed_in_the_order_in_which_a_change_passes_them() -> None:
    stages = Timings()
    for stage in reversed(ORDER):
        stages.add(stage, 1.0)

    assert tuple(stages.ms) == ORDER


def test_a_stage_that_fails_is_not_counted() -> None:
    stages = Timings()
    with pytest.raises(ZeroDivisionError), stages("scan"):
        raise ZeroDivisionError

    assert stages.ms == {}


def test_a_writer_that_waits_after_each_write_is_never_delayed() -> None:
    """Even for a fast writer: its next change may be there before the daemon reads the log again."""
    assert {coalesce_delay_s(1, streak) for streak in (0, 1, 2, 10, 10**6)} == {0}


def test_under_a_stream_of_writes_changes_are_collected() -> None:
    assert [coalesce_delay_s(MANY - 1, streak) for streak in (0, 1, 2, 10**6)] == [
        0,
        0,
        SHORT_DELAY_S,
        SHORT_DELAY_S,
    ]
    assert coalesce_delay_s(MANY, 0) == LONG_DELAY_S


def test_the_collector_is_kept_away_and_comes_back() -> None:
    with without_garbage_collection():
        inside = gc.isenabled()

    assert not inside
    assert gc.isenabled()


def test_garbage_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with without_garbage_collection():
            pass
        after = gc.isenabled()
    finally:
        gc.enable()

    assert not after


def busy(seconds: float) -> None:
    """Keep the processor busy for so many seconds."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
