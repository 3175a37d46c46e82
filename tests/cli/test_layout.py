"""How lines and tables for people are laid out, without a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from omnicdc.cli.layout import Block, Cell, Line, Table, duration, folded, laid_out, milliseconds, seconds

PATH = "/srv/infrastructure/governance/x"
COMMAND = "`omnicdc consumer forget registry-2`"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("", [""]),
        ("  a b", ["  a b"]),
        ("one two three four five six", ["one two three four five", "  six"]),
        ("  one two three four five six", ["  one two three four", "    five six"]),
        ("two  blanks", ["two  blanks"]),
        (f"a path that is long: {PATH}", ["a path that is long:", f"  {PATH}"]),
        (f"do: {COMMAND}; then wait", ["do:", f"  {COMMAND};", "  then wait"]),
        ("an odd ` backtick, and more words", ["an odd ` backtick, and", "  more words"]),
        ("漢字漢字漢字 漢字漢字漢字", ["漢字漢字漢字", "  漢字漢字漢字"]),
        ("\x1b[31mred\nline", ["\\x1b[31mred\\nline"]),
    ],
)  # fmt: skip
def test_a_line_is_folded_at_blanks_and_a_command_stays_whole(text: str, lines: list[str]) -> None:
    """Commands and paths must be copied as they are, though they are longer than a line."""
    assert folded(text, 24) == lines


def test_a_row_that_does_not_fit_has_a_line_for_each_cell_and_nothing_is_cut() -> None:
    table = Table(
        ["consumer", "state", "published", "files"],
        [["registry-host-17.europe.example", Cell("alive", good=True), "2026-11-27T08:04:02Z", ["a", "b"]]],
        frozenset({"state", "published"}),
    )

    assert list(laid_out([table], 50, colour=False)) == [
        "registry-host-17.europe.example",
        "  state      alive",
        "  published  2026-11-27T08:04:02Z",
        "  files      a",
        "             b",
    ]
    wide = Table(table.columns, table.rows, wide=True)
    assert list(laid_out([wide], 20, colour=False))[1].split()[0] == "registry-host-17.europe.example"


def test_cells_are_folded_at_blanks_and_a_long_word_concerns_its_own_row_alone() -> None:
    rows = [
        ["root", PATH, "a flag"],
        ["retention", "two days and some", "the default, as nothing else sets it"],
        ["remedy", COMMAND, "omnicdc.yaml:3"],
    ]

    assert list(laid_out([Table(["setting", "value", "from"], rows)], 44, colour=False)) == [
        "setting    value           from",
        "root",
        f"  value  {PATH}",
        "  from   a flag",
        "retention  two days and    the default, as",
        "             some            nothing else",
        "                             sets it",
        "remedy",
        "  value",
        f"    {COMMAND}",
        "  from   omnicdc.yaml:3",
    ]


def test_colours_are_only_where_they_are_wanted() -> None:
    blocks: list[Block] = [Line("bad", good=False), Table(["a"], [[Cell("good", good=True)]])]

    assert not any("\x1b" in line for line in laid_out(blocks, 80, colour=False))
    bad, head, good = laid_out(blocks, 80, colour=True)
    assert bad == "\x1b[31mbad\x1b[0m"
    assert head.startswith("\x1b[1m")
    assert "\x1b[32mgood" in good


def test_times_are_utc_and_durations_have_a_unit() -> None:
    east = datetime(2026, 11, 27, 10, 4, 2, 999, timezone(timedelta(hours=2)))

    assert seconds(east) == seconds(str(east)) == seconds("2026-11-27 08:04:02") == "2026-11-27T08:04:02Z"
    assert seconds(None) == duration(None) == milliseconds(None) == "-"
    assert [duration(it) for it in (-1, 0.44, 12.4, 60, 200, 671, 7500, 90000)] == [
        "0.0 s", "0.4 s", "12 s", "1 min", "3 min 20 s", "11 min", "2 h 5 min", "1 d 1 h",
    ]  # fmt: skip
    assert [milliseconds(it) for it in (0.61, 38.2, 62_000)] == ["0.6 ms", "38 ms", "1 min 2 s"]
    assert seconds(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
