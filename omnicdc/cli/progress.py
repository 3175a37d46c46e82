"""Progress on a terminal; nothing at all on a pipe."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@contextmanager
def through(title: str, points: Sequence[str] = ()) -> Iterator[Callable[[str], None]]:
    """Show how many of these points were passed, and which was last; gives what long work observes with.

    Without points the bar only shows that something goes on.
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
    """Show that something is being waited for, and for how long."""
    with through(title):
        yield
