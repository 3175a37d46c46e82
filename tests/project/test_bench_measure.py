"""How the benchmark judges and reports its measurements.

A target is met or missed, and no measurement is lost.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from bench import document, listing, table, wording
from bench.effort import QUICK
from bench.machine import Machine, file_system
from bench.measure import Contender, Curve, Figure, Results, Series, alternated
from hypothesis import given
from hypothesis import strategies as st

from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 11, 22, 20, 59, 55, tzinfo=UTC)
MACHINE = Machine(
    cores=2, cpu="A|B", memory_bytes=8_000_000_000, kernel="Linux 6.1", file_system="ext4",
    fsync=Series((0.1, 0.12, 0.3), "ms"), python="3.11.2", postgresql="18.0",
)  # fmt: skip
FLOOR = Series((2.0, 2.2, 9.0), "ms")
UNKNOWN = Series((math.nan,), "ms")


def ms(*values: float) -> Series:
    return Series(values, "ms")


def mb(*values: float) -> Series:
    return Series(values, "MB")


def results() -> Results:
    return Results(
        figures=[
            Figure("one | upsert", ms(3.0, 3.3, 4.4), 1.4, FLOOR, "floor"),
            Figure("memory", mb(0.1), 0.2),
        ],
        contenders=[Contender("nobody", UNKNOWN, Series((1234.5, 1300.1), "upserts/s"), "no\nconsumer")],
        curves=[
            Curve("latency", "omnicdc", "projects", {10_000: ms(14.1), 100: ms(3.1)}),
            Curve("writers", "omnicdc", "clients", {1: Series((2700.4,), "upserts/s")}),
            Curve("latency", "full rebuild", "projects", {10_000: ms(12_000.0)}),
        ],
        stages={10_000: {"wake": ms(0.2), "scan": ms(1.5)}, 100: {"wake": ms(0.1)}},
        remarks=["no Java"],
    )  # fmt: skip


def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.as_json(results(), MACHINE, QUICK, AT))
    return found


# -- measurements ------------------------------------------------------------------------------


def test_the_p99_of_fewer_than_a_hundred_values_is_the_highest() -> None:
    assert ms(*range(1, 100)).p99 == 99


def test_the_p99_of_many_values_ignores_the_worst_hundredth() -> None:
    assert 980 < ms(*range(1, 1001), 10**9).p99 < 1000


def test_a_ratio_compares_any_statistic_with_the_other_median() -> None:
    found = {
        statistic: Figure("", ms(2.2, 4.4, 6.6), 9, FLOOR, "floor", statistic=statistic).value
        for statistic in ("p50", "p99", "highest", "lowest")
    }

    assert found == pytest.approx({"p50": 2, "p99": 3, "highest": 3, "lowest": 1})


@pytest.mark.parametrize(("value", "at_least", "met"), [
    (9.9, False, True), (10, False, True), (10.1, False, False),
    (9.9, True, False), (10, True, True), (10.1, True, True),
    (math.nan, False, False), (math.nan, True, False),
])  # fmt: skip
def test_a_value_equal_to_the_limit_meets_it_and_nan_never_does(
    value: float, at_least: bool, met: bool
) -> None:
    assert Figure("", mb(value), 10, at_least=at_least).met is met


@pytest.mark.parametrize("unit", ["s", "ms", "%", "upserts/s"])
def test_a_target_for_speed_without_a_comparison_is_refused(unit: str) -> None:
    """On another machine, the promise would be met or missed because of that machine's speed."""
    with pytest.raises(ValueError, match="compared with nothing"):
        Figure("quick enough", Series((1.0,), unit), 2)


def test_contenders_alternate_in_the_opposite_order_each_round() -> None:
    turns: list[str] = []

    def turn(name: str) -> list[int]:
        turns.append(name)
        return [len(turns)]

    found = alternated(3, {"a": partial(turn, "a"), "b": partial(turn, "b")})

    assert "".join(turns) == "abbaab"
    assert found == {"a": [1, 4, 5], "b": [2, 3, 6]}


# -- texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (1, "1"), (1000, "1,000"), (4096, "4,096"), (-0.3, "-0.300"),
    (0.00091, "0.000910"), (0.7162, "0.716"), (9.996, "10.0"), (999.6, "1,000"), (20_234.5, "20,200"),
    (math.nan, wording.UNKNOWN), (math.inf, wording.UNKNOWN),
])  # fmt: skip
def test_a_number_has_three_digits_and_separated_thousands(value: float, text: str) -> None:
    assert wording.number(value) == text


@given(st.floats(1e-9, 1e12) | st.floats(-1e12, -1e-9))
def test_a_number_is_rounded_to_within_half_a_percent(value: float) -> None:
    assert float(wording.number(value).replace(",", "")) == pytest.approx(value, rel=0.00501)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1), st.sampled_from(sorted(wording.SECONDS)))
def test_a_time_in_a_readable_unit_is_the_same_time(values: list[float], unit: str) -> None:
    found = wording.readable(Series(tuple(values), unit))

    seconds = [value * wording.SECONDS[unit] for value in values]
    assert [value * wording.SECONDS[found.unit] for value in found.values] == pytest.approx(seconds)


@pytest.mark.parametrize(("figure", "target", "verdict"), [
    (Figure("", ms(3.3), 1.4, FLOOR, "floor"), "≤ 1.4 x floor", "missed by 7.1 %"),
    (Figure("", ms(3.3), 1.5, FLOOR, "floor"), "≤ 1.5 x floor", "met"),
    (Figure("", ms(1.1), 0.72, FLOOR, "floor", at_least=True), "≥ 0.72 x floor", "missed by 31 %"),
    (Figure("", mb(1.0, 400.0), 250, statistic="p99"), "p99 ≤ 250 MB", "missed by 60 %"),
    (Figure("", Series((4096.0,), "bytes"), 0), "≤ 0 bytes", "missed by 4,096 bytes"),
    (Figure("", mb(math.nan), 2.5), "≤ 2.5 MB", "not measured"),
])  # fmt: skip
def test_the_text_of_a_target_and_of_its_verdict(figure: Figure, target: str, verdict: str) -> None:
    assert wording.target(figure).replace("\N{MULTIPLICATION SIGN}", "x") == target
    assert wording.verdict(figure) == verdict


def test_an_absolute_figure_keeps_its_unit_and_a_ratio_has_a_readable_one() -> None:
    long = ms(1900.0)

    assert wording.found(Figure("", mb(1900.0), 2500)) == "1,900 MB"
    assert wording.found(Figure("", long, 2, FLOOR)) == "1.90 s"


def test_a_topic_is_one_table_with_a_dash_for_a_missing_value() -> None:
    latency = next(found for found in listing.tables(results()) if found.title == "Latency, by projects")

    assert latency.columns == ("projects", "omnicdc", "full rebuild")
    assert latency.rows == (("100", "3.10 ms", wording.UNKNOWN), ("10,000", "14.1 ms", "12 s"))
    assert latency.numeric == (True, True, True)


def test_without_measurements_there_is_no_table() -> None:
    assert listing.tables(Results()) == []


def test_on_a_pipe_every_row_is_one_line_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    table.show(results())

    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["# Targets", "claim\ttarget\tfigure\tagainst\tratio\tverdict", lines[2]]
    assert lines[2].split("\t")[4:] == ["1.50", "missed by 7.1 %"]
    assert lines[-2:] == ["remark: no Java", "1 of 2 targets met"]


# -- JSON, Markdown --------------------------------------------------------------------------


def test_the_keys_of_the_json_are_a_contract() -> None:
    found = report()

    assert list(found) == [
        "version", "date", "effort", "machine", "figures", "contenders", "curves", "stages", "remarks",
    ]  # fmt: skip
    assert (found["version"], found["date"]) == (1, "2026-11-22T20:59:55+00:00")
    assert list(found["figures"][0]) == [
        "claim", "statistic", "limit", "at_least", "ours", "against", "value", "met",
    ]  # fmt: skip
    assert list(found["figures"][0]["ours"]) == ["unit", "p50", "p99", "lowest", "highest", "values"]


def test_the_json_has_every_value_and_null_for_nan() -> None:
    found = report()

    assert found["figures"][0]["ours"]["values"] == [3.0, 3.3, 4.4]
    assert found["figures"][0]["against"]["values"] == [2.0, 2.2, 9.0]
    assert found["figures"][1]["against"] is None
    assert found["contenders"][0]["latency"]["values"] == [None]
    assert [point["x"] for point in found["curves"][0]["points"]] == [100, 10_000]
    assert found["stages"][0]["stages"]["scan"]["values"] == [1.5]
    assert found["machine"]["fsync"]["values"] == [0.1, 0.12, 0.3]


def test_the_markdown_has_every_table_and_escaped_cells() -> None:
    text = document.markdown(results(), MACHINE)

    for title in ("Targets", "Contenders", "Latency, by projects", "Writers, by clients", "Remarks"):
        assert f"### {title}\n\n" in text
    assert "| one \\| upsert |" in text
    assert "| no consumer |" in text
    assert text.startswith("Measured on 2 cores of A\\|B, 8 GB of memory")


def test_stages_are_listed_by_the_number_of_projects() -> None:
    text = document.markdown(results(), MACHINE)

    assert f"| wake | 0.100 | 0.200 |\n| scan | {wording.UNKNOWN} | 1.50 |" in text


PAGE = f"# Performance\n\n{document.BEGIN}\nold\n{document.END}\n\nThe rest \\1.\n"


def test_only_the_text_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE)

    document.update(page, "new \\g<0>\n")
    document.update(page, "new \\g<0>\n")

    assert page.read_text() == PAGE.replace("old", "\nnew \\g<0>\n")


@pytest.mark.parametrize("text", [
    "", document.BEGIN, document.END, document.END + document.BEGIN, PAGE + PAGE, PAGE + document.END,
    document.BEGIN + PAGE,
])  # fmt: skip
def test_a_page_without_exactly_one_pair_of_markers_is_left_unchanged(tmp_path: Path, text: str) -> None:
    page = tmp_path / "performance.md"
    page.write_text(text)

    with pytest.raises(OmnicdcError, match=r"no one place.* - put <!-- measured -->"):
        document.update(page, "new")
    assert page.read_text() == text


def test_the_file_system_is_that_of_the_deepest_and_latest_mount(tmp_path: Path) -> None:
    mounted = [("/", "ext4"), (tmp_path, "xfs"), (tmp_path, "tmpfs"), ("/", "overlay")]
    mounts = "\n".join(
        f"{number} 1 0:1 / {point} rw - {kind} none rw" for number, (point, kind) in enumerate(mounted)
    )

    assert file_system(mounts, tmp_path / "data") == "tmpfs"
    assert file_system(mounts, tmp_path.with_name(f"{tmp_path.name}-beside")) == "overlay"
