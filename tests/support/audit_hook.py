"""A moment between two system calls of this process, for what another process may do just then."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def at_the_call(event: str, about: object, deed: Callable[[], None]) -> Iterator[None]:
    """Do something once, just before this process makes a system call about something.

    Sys.addaudithook names the calls.
    """
    due = [deed]

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if name == event and str(about) in map(str, arguments) and due:
            due.pop()()

    sys.addaudithook(hook)  # it stays until the process ends, with nothing to do
    yield
    assert not due
