"""Runs an action between two system calls of this process, as another process might do it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def before_call(event: str, about: object, action: Callable[[], None]) -> Iterator[None]:
    """Run an action once, just before this process makes a system call with the argument `about`.

    `event` is a name of an audit event, see `sys.addaudithook`.
    """
    due = [action]

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if name == event and str(about) in map(str, arguments) and due:
            due.pop()()

    sys.addaudithook(hook)  # a hook cannot be removed; after the action it does nothing
    yield
    assert not due
