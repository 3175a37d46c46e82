"""The connections with which a wait looks, and how it sleeps until a daemon publishes.

A command has one of its own for its single wait; a client process shares a few among all its waits:
`wait_pool`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from omnicdc import db

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

SLICE_S = 0.5
"""Between two looks when no notification comes."""


class Connections(Protocol):
    """Gives a wait a connection to look with, and lets it sleep until a daemon publishes."""

    @property
    def patience_s(self) -> float:
        """Between two looks when no notification comes, at most."""

    def connection(self, within_s: float) -> AbstractContextManager[db.Connection]:
        """Give a connection in autocommit mode.

        Raises DatabaseUnavailable if none is to be had in that time.
        """

    def heard(self) -> int:
        """Return how many notifications came so far."""

    def sleep(self, heard: int, seconds: float) -> bool:
        """Return true as soon as there is a notification beyond `heard`, and false when the time is up."""


class OwnConnection:
    """One connection for one wait: it listens and looks."""

    patience_s = SLICE_S

    def __init__(self, conn: db.Connection) -> None:
        self._conn = conn
        self._listens = False

    @contextmanager
    def connection(self, within_s: float) -> Iterator[db.Connection]:  # noqa: ARG002 - it is there
        """Give the connection."""
        if not self._listens and not self._conn.behind_pooler:
            self._conn.execute("listen omnicdc_published")
            self._listens = True
        yield self._conn

    def heard(self) -> int:
        """Notifications stay in the connection until it sleeps."""
        return 0

    def sleep(self, heard: int, seconds: float) -> bool:  # noqa: ARG002 - as above
        """Sleep until a notification comes."""
        if not self._listens:
            time.sleep(seconds)
            return False
        return bool(list(self._conn.notifies(timeout=seconds, stop_after=1)))


def as_connections(source: db.Connection | Connections) -> Connections:
    """Return a source of connections; a connection is one that is lent to a single wait."""
    return OwnConnection(source) if isinstance(source, db.Connection) else source
