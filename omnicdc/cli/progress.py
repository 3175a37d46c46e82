"""Progress on a terminal; nothing at all on a pipe."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def scanning(title: str) -> Iterator[Callable[[str], None]]:
    """Show which point of the pipeline was passed last; gives what `run_once` observes with."""
    if not sys.stderr.isatty():
        yield lambda _point: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[point]}"), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(title, total=None, point="")
        yield lambda point: bar.update(task, point=point)


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show that something is being waited for, and for how long."""
    with scanning(title):
        yield
