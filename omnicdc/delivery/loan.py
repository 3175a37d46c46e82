"""One connection that is lent to a wait: asked for in one thread, answered in another."""

from __future__ import annotations

import _thread
from typing import TYPE_CHECKING

from omnicdc.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from omnicdc.db.connection import Connection


class Loan:
    """What was asked for, and what was lent."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.answered = _thread.allocate_lock()
        self.answered.acquire()
        self.failure: Exception | None = None
        self.lent: Connection | None = None
        self.ended = False
        self.unharmed = False
        """Nothing was raised meanwhile: in the middle of a pipeline or a transaction, the driver keeps what
        was left open."""

    @property
    def conn(self) -> Connection:
        """The connection, once there is one."""
        if self.lent is None:
            raise DatabaseUnavailable("the client was closed meanwhile")
        return self.lent
