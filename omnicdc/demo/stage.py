"""Shows the performance: what there is to say of an act, and a stage that says it as plain text.

`lights` is the stage for a terminal.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from omnicdc.demo.report import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from omnicdc.demo.report import Act, Check, Table, Take
    from omnicdc.demo.witness import Noted

DIFF_LINES = 28
"""As many lines of a diff are shown; the rest is counted."""


class Stage(Protocol):
    """What a performance needs of its stage."""

    def title(self, text: str, subtitle: str) -> None:
        """Open."""

    def heading(self, number: int, text: str) -> None:
        """Begin an act."""

    def say(self, text: str = "") -> None:
        """Say one line."""

    def deed(self, text: str) -> None:
        """Tell what is done."""

    def fact(self, label: str, text: str) -> None:
        """Tell what was seen of it."""

    def diff(self, name: str, lines: Sequence[str], left_out: int) -> None:
        """Show what changed in a file."""

    def check(self, check: Check) -> None:
        """Tell whether a claim held."""

    def table(self, table: Table) -> None:
        """Compare at a glance."""

    def verdict(self, text: str, *, good: bool) -> None:
        """Close."""

    def busy(self, text: str) -> AbstractContextManager[None]:
        """Tell what is waited for, while it lasts."""


class Plain:
    """Lines of text for a pipe, a file, or nobody."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def title(self, text: str, subtitle: str) -> None:
        """One line each."""
        self._write(text)
        self._write(subtitle)
        self._write("")

    def heading(self, number: int, text: str) -> None:
        """Set apart by an empty line."""
        self._write("")
        self._write(f"{number}. {text}")

    def say(self, text: str = "") -> None:
        """Write it as it is."""
        self._write(text)

    def deed(self, text: str) -> None:
        """As a shell would show it."""
        self._write(f"   > {text}")

    def fact(self, label: str, text: str) -> None:
        """In two columns."""
        self._write(f"     {label:<11}{text}")

    def diff(self, name: str, lines: Sequence[str], left_out: int) -> None:
        """As diff -u writes it, indented."""
        self._write(f"     --- {name}")
        for line in lines:
            self._write(f"     {line}")
        if left_out:
            self._write(f"     … {left_out} more lines")

    def check(self, check: Check) -> None:
        """With a word, not only a sign."""
        self._write(f"   {'ok  ' if check.holds else 'NOT '} {check.claim}")

    def table(self, table: Table) -> None:
        """In columns as wide as need be."""
        rows = [table.columns, *table.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._write(f"     {'  '.join(cells).rstrip()}")

    def verdict(self, text: str, *, good: bool) -> None:  # noqa: ARG002 - the text says it
        """Write it as it is."""
        self._write("")
        self._write(text)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:  # noqa: ARG002 - nobody watches a pipe
        """Say nothing."""
        yield


def show(stage: Stage, number: int, act: Act) -> None:
    """Show an act that has been played."""
    stage.heading(number, act.title)
    for take in act.takes:
        _show_take(stage, take)
    if act.figures:
        stage.fact("verdict", f"{_milliseconds(act.figures)} ms after COMMIT")
    if act.table:
        stage.table(act.table)
    for check in act.checks:
        stage.check(check)


def _show_take(stage: Stage, take: Take) -> None:
    seen = take.seen
    ended = "ROLLBACK" if seen.verdict.status == "rolled_back" else "COMMIT"
    stage.deed(take.deed)
    stage.fact("log", "; ".join(map(_noted, seen.noted)) or "nothing")
    stage.fact("verdict", f"{seen.verdict.status}, {seen.milliseconds:.1f} ms after {ended}")
    if seen.cycle:
        stage.fact("daemon", f"generation {seen.verdict.generation}: {_milliseconds(seen.cycle['ms'])} ms")
        stage.fact("scanners", ", ".join(seen.scanners))
    stage.fact("rewritten", ", ".join(_counted(*item) for item in seen.diffs.items()) or "no file")
    for name, lines in seen.diffs.items() if take.in_full else ():
        _show_diff(stage, name, lines)


def _counted(name: str, lines: Sequence[str]) -> str:
    signs = [line[:1] for line in lines]
    return f"{name} (+{signs.count('+')} -{signs.count('-')})"


def _show_diff(stage: Stage, name: str, lines: Sequence[str]) -> None:
    # A line saved is worth no "1 more line".
    kept = len(lines) if len(lines) <= DIFF_LINES + 1 else DIFF_LINES
    stage.diff(name, [harmless(line) for line in lines[:kept]], len(lines) - kept)


def _noted(noted: Noted) -> str:
    rows = "" if noted.rows == 1 else f"{noted.rows} times "
    return f"{rows}{noted.op} of {'the whole row' if noted.fields is None else ', '.join(noted.fields)}"


def _milliseconds(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name.removesuffix('_ms')} {value:.1f}" for name, value in figures.items())
