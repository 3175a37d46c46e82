"""The loan of one connection to a wait. One thread requests it, and another thread answers."""

from __future__ import annotations

import _thread
from typing import TYPE_CHECKING

from omnicdc.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from omnicdc.db.connection import Connection


class Loan:
    """The request for a connection, and its answer: a connection or a failure."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        """When the request ends, by the monotonic clock."""
        self.answered = _thread.allocate_lock()
        """Released when the answer is there."""
        self.answered.acquire()
        self.failure: Exception | None = None
        self.lent: Connection | None = None
        self.ended = False
        """Whether the borrower no longer needs the connection."""
        self.unharmed = False
        """Whether the borrower's block ended without an exception. After an exception, psycopg may keep a
        pipeline or a transaction open, so the connection must be closed."""

    @property
    def conn(self) -> Connection:
        """The connection. Raises DatabaseUnavailable if there is none, because the client was closed."""
        if self.lent is None:
            raise DatabaseUnavailable("the client was closed meanwhile")
        return self.lent
