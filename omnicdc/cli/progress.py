"""Shows progress on a terminal, and nothing on a pipe."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omnicdc.formats.text import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WIDEST = 60
"""The largest number of characters of a line beside the bar."""


@contextmanager
def show_progress(title: str, points: Sequence[str] = ()) -> Iterator[Callable[[str], None]]:
    """Show a progress bar during the `with` block: how many of `points` were passed, and the last one.

    Gives a function that the work must call with each point. Without points, the bar shows that the work
    continues, and the line of text that the work gave last.
    """
    if not sys.stderr.isatty():
        yield lambda _point: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[point]}", markup=False),
        TimeElapsedColumn(), console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(title, total=len(points) or None, point="")

        def observe(point: str) -> None:
            if not points:
                bar.update(task, point=shortened(point, WIDEST))
            elif point in points:
                bar.update(task, completed=points.index(point) + 1, point=point)

        yield observe


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show during the `with` block that the command waits, and for how long it has waited."""
    with show_progress(title):
        yield
