"""The driver's connection, which also notices when nobody is left at its other end. `db` opens and uses it.

A proxy that forwards nothing any more still acknowledges every packet, keepalives included: TCP sees no fault, and an
answer would be waited for until somebody restarts something. So a silence is looked into, over another connection. A
query that the server works on, or that waits for a lock, may take as long as it takes; unless a stop is asked for.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from omnicdc import sql
from omnicdc.errors import DatabaseUnavailable, Interrupted

if TYPE_CHECKING:
    from psycopg.abc import RV, PQGen

    from omnicdc.stop import Stop

Row = dict[str, Any]

SILENCE_S = 5.0
"""How long a server may owe an answer and say nothing before it is asked what it does."""

PROBE_S = 3.0
"""How long connecting to ask that may take, and as long the answer."""


LEAVE_S = 0.5
"""How long a server may owe an answer to who was asked to stop: CMP may keep its table locked for hours."""


class Connection(psycopg.Connection[Row]):
    """In autocommit mode, and its rows are dicts."""

    conninfo: str | None = None
    """What another connection is opened with, to look into a silence; None: a silence is the end."""

    stop: Stop | None = None
    """Ends the waiting for an answer."""

    pooled = False
    """Whether a pooler stands between: what is set, or listened for, in a session of its own does not stay there."""

    @classmethod
    def open(cls, conninfo: str) -> Self:
        """Connect. Raises psycopg's errors."""
        conn = cls.connect(conninfo, autocommit=True, row_factory=dict_row, client_encoding="utf8")
        conn.conninfo = conninfo
        return conn

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:  # noqa: ANN401 - the driver's own
        """Wait as the driver does. Raises DatabaseUnavailable if nobody is there, and Interrupted if a stop is asked for.

        Then the connection is closed.
        """
        return super().wait(self._attended(gen), *args, **kwargs)

    def _attended(self, gen: PQGen[RV]) -> PQGen[RV]:
        patience = SILENCE_S if self.conninfo else PROBE_S
        heard, ready = time.monotonic(), None
        while True:
            try:
                # The first time, None starts it.
                wish = gen.send(ready)  # type: ignore[arg-type]
            except StopIteration as end:
                result: RV = end.value
                return result
            ready = yield wish
            if ready:
                heard = time.monotonic()
            elif self.stop and self.stop.requested and time.monotonic() - heard > LEAVE_S:
                self.close()
                raise Interrupted("stopped while the server worked on a query, or waited for a lock")
            elif time.monotonic() - heard > patience:
                self._look_into_silence(patience)
                heard = time.monotonic()

    def _look_into_silence(self, lasted_s: float) -> None:
        if (
            self.pgconn.transaction_status != TransactionStatus.ACTIVE
            or self._is_worked_for()
            or self._spoke()
        ):
            return
        self.close()
        raise DatabaseUnavailable(
            f"the server owes an answer, has said nothing for {lasted_s:.0f} s and does not work on it",
            hint="a new connection is tried by itself; look at what is between: network, firewall, proxy, pooler",
        )

    def _spoke(self) -> bool:
        """Whether something came while we asked: then the server had ended its work."""
        arrival = select.poll()
        arrival.register(self.fileno(), select.POLLIN)
        return bool(arrival.poll(0))

    def _is_worked_for(self) -> bool:
        """Ask over another connection whether the server works for this one; without an answer, it does not."""
        if self.conninfo is None:
            return False
        here = make_conninfo(
            self.conninfo, host=self.info.host, port=self.info.port, connect_timeout=int(PROBE_S)
        )
        try:
            with Connection.connect(here, autocommit=True, row_factory=dict_row) as other:
                found = other.execute(sql.query("backend"), {"pid": self.info.backend_pid}).fetchone()
                # Behind a pooler the number is the pooler's own, and tells nothing.
                pooled = not found or found["pid"] != other.info.backend_pid
        except (psycopg.Error, DatabaseUnavailable):
            return False
        return pooled or bool(found and found["works"])
