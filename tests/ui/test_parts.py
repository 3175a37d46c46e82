"""The parts of the page without a server: charts, work in threads, texts."""

from __future__ import annotations

import asyncio
import threading

import pytest

from omnicdc.cli.ui.chart import HEIGHT, Point, duration, height_of, lag_chart, stage_bar
from omnicdc.cli.ui.show import coded, path, time_tag
from omnicdc.cli.ui.views import byte_size, rewritten
from omnicdc.cli.ui.work import MOST_WAITING, Busy, TooSlow, Workers


def test_the_chart_shows_every_lag_and_says_it_in_words() -> None:
    points = [Point(5.0, 12.0), Point(6.0, 3.0), Point(300.0, 250_000.0), Point(601.0, 1.0), Point(-5.0, 1.0)]
    busy, quiet = lag_chart(points, 1500.0, late_ms=90_000), lag_chart([], None, late_ms=90_000)

    assert busy.count("<rect") == 2
    assert 'class="late"' in busy
    assert "at most 4 min; 1.5 s now" in busy
    assert "nothing was published; nothing waits now" in quiet
    assert quiet.count("<rect") == 0
    assert [height_of(ms) for ms in (0.0, 1.0, 1e9)] == [2, 2, HEIGHT - 1]
    assert "style=" not in busy + stage_bar({"wake": 1.0, "publish": 3.0, "unknown": 9.0})


def test_the_parts_of_a_stage_bar_are_its_shares() -> None:
    bar = stage_bar({"publish": 3.0, "wake": 1.0})

    assert 'x="0.0" y="0" width="35.0"' in bar
    assert 'x="35.0" y="0" width="105.0"' in bar
    assert "wake 1.0 ms, publish 3.0 ms" in bar
    assert "<rect" not in stage_bar({})


def test_durations_and_sizes_are_short() -> None:
    durations = [duration(ms) for ms in (0.04, 9.99, 12.4, 999, 1500, 61_000, 250_000, 7_200_000, 2e8)]

    assert durations == ["0.0 ms", "10.0 ms", "12 ms", "999 ms", "1.5 s", "61 s", "4 min", "2 h", "2 d"]
    assert [byte_size(it) for it in (0, 999, 27_276, 33_100_000, 5e9)] == [
        "0 B",
        "999 B",
        "27.3 kB",
        "33.1 MB",
        "5.0 GB",
    ]


def test_what_was_rewritten_fits_one_line() -> None:
    names = [rewritten(["a", "b", "c"][:count], served) for count, served in ((0, 3), (1, 3), (3, 4), (3, 3))]

    assert names == ["none", "a", "a and 2 more", "all registries"]


def test_a_path_breaks_after_its_slashes() -> None:
    assert path("/srv/<root>") == "/<wbr>srv/<wbr>&lt;root&gt;"


def test_code_and_times_are_marked_and_everything_else_is_escaped() -> None:
    assert coded("run `a <b>` & go") == "run <code>a &lt;b&gt;</code> &amp; go"
    assert coded("a lone ` stays") == "a lone ` stays"
    assert "2026-11-27T08:00:00Z" in time_tag("2026-11-27T09:00:00.5+01:00")
    assert time_tag("<b>") == "&lt;b&gt;"


def test_repeated_requests_share_their_work_and_many_are_refused() -> None:
    asyncio.run(_share_and_refuse())


async def _share_and_refuse() -> None:
    workers, gate, runs = Workers(1), threading.Event(), []

    def work() -> str:
        runs.append(1)
        gate.wait()
        return "done"

    first = [asyncio.create_task(workers.run("same", work, 60)) for _ in range(20)]
    others = [asyncio.create_task(workers.run(number, work, 60)) for number in range(MOST_WAITING - 1)]
    await asyncio.sleep(0)  # lets the tasks begin
    with pytest.raises(Busy):
        await workers.run("one more", work, 60)
    with pytest.raises(TooSlow):
        await workers.run("same", work, 0.01)
    gate.set()

    assert [await it for it in first] == ["done"] * 20
    assert [await it for it in others] == ["done"] * (MOST_WAITING - 1)
    assert len(runs) == MOST_WAITING


def test_an_error_of_the_work_is_raised_in_the_request() -> None:
    def work() -> None:
        raise ValueError("as expected")

    with pytest.raises(ValueError, match="as expected"):
        asyncio.run(Workers(1).run("one", work, 60))
