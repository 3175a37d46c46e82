"""Connections for waits: a wait checks the database with them, and sleeps until a daemon publishes.

A command has one connection for its single wait: `OwnConnection`. In a client process, all waits share a few
connections: see `wait_pool`.
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
"""Seconds between two checks of a wait when no notification comes."""


class Connections(Protocol):
    """Gives a wait a connection for its checks, and lets it sleep until a daemon publishes."""

    @property
    def longest_poll_s(self) -> float:
        """The longest time in seconds between two checks of a wait when no notification comes."""

    def connection(self, within_s: float) -> AbstractContextManager[db.Connection]:
        """Give a connection in autocommit mode for the `with` block.

        Raises DatabaseUnavailable if no connection is available within `within_s` seconds.
        """

    def notification_count(self) -> int:
        """Return how many notifications have arrived so far."""

    def sleep(self, seen_count: int, seconds: float) -> bool:
        """Return true as soon as `notification_count` is not `seen_count`, and false when the time is up."""


class OwnConnection:
    """One connection for one wait. It is used for LISTEN and for the checks."""

    longest_poll_s = SLICE_S

    def __init__(self, conn: db.Connection) -> None:
        self._conn = conn
        self._listens = False

    @contextmanager
    def connection(self, within_s: float) -> Iterator[db.Connection]:  # noqa: ARG002 - the connection is open already
        """Give the connection, after LISTEN at the first call. Behind a pooler, LISTEN is left out."""
        if not self._listens and not self._conn.behind_pooler:
            self._conn.execute("listen omnicdc_published")
            self._listens = True
        yield self._conn

    def notification_count(self) -> int:
        """Return 0. No count is needed, because notifications stay in the connection until `sleep`."""
        return 0

    def sleep(self, seen_count: int, seconds: float) -> bool:  # noqa: ARG002 - no count is needed
        """Sleep until a notification comes, and return true; return false when the time is up."""
        if not self._listens:
            time.sleep(seconds)
            return False
        return bool(list(self._conn.notifies(timeout=seconds, stop_after=1)))


def as_connections(source: db.Connection | Connections) -> Connections:
    """Return `source` as Connections. A single connection is wrapped in OwnConnection."""
    return OwnConnection(source) if isinstance(source, db.Connection) else source
