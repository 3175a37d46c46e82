"""Shows progress on a terminal, and nothing on a pipe."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@contextmanager
def show_progress(title: str, points: Sequence[str] = ()) -> Iterator[Callable[[str], None]]:
    """Show a progress bar during the `with` block: how many of `points` were passed, and the last one.

    Gives a function that the work must call with each point. Without points, the bar only shows that the work
    continues.
    """
    if not sys.stderr.isatty():
        yield lambda _point: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[point]}"),
        TimeElapsedColumn(), console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(title, total=len(points) or None, point="")

        def observe(point: str) -> None:
            if point in points:
                bar.update(task, completed=points.index(point) + 1, point=point)

        yield observe


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show during the `with` block that the command waits, and for how long it has waited."""
    with show_progress(title):
        yield
