"""The driver's connection: it pins the settings that we depend on, and notices a silent server.

`db` opens and uses it.

A database or a role may set any parameter for its own sessions. A direct connection sets ours once, for the
session. A pooler may lend the session to another client after each transaction: there they are set for each
transaction alone.

A proxy that forwards nothing any more still acknowledges every packet, keepalives included: TCP sees no
fault, and an answer would be waited for until somebody restarts something. So a silence is looked into, over
another connection. A query that the server works on, or that waits for a lock, may take as long as it takes;
unless a stop is asked for.
"""

from __future__ import annotations

import re
import select
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from omnicdc.db import sql
from omnicdc.db.conninfo import Silence
from omnicdc.db.dial import within
from omnicdc.errors import DatabaseUnavailable, Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.abc import RV, PQGen

    from omnicdc.stop import Stop

Row = dict[str, Any]

LEAVE_S = 0.5
"""How long a server may owe an answer to who was asked to stop: CMP may keep its table locked for hours."""


GRACE_S = 1.0
"""How long after the deadline an answer may still come.

It was asked for in time, and a late answer is better than none.
"""


def role_of(exc: psycopg.Error) -> str:
    """Return the role that was logged in when a server raised this, as SQL writes it.

    `…` where that is not known.
    """
    role = str(vars(exc).get(_ROLE, "…"))
    return role if _PLAIN.fullmatch(role) else '"{}"'.format(role.replace('"', '""'))


_ROLE = "omnicdc_role"
_PLAIN = re.compile("[a-z_][a-z0-9_]*|…")


_SILENCE = Silence()


class Connection(psycopg.Connection[Row]):
    """In autocommit mode, and its rows are dicts."""

    conninfo: str | None = None
    """What another connection is opened with, to look into a silence; None: a silence is the end."""

    sources: str = ""
    """Where the connection string and the password were written; never what they are."""

    silence: Silence = _SILENCE

    stop: Stop | None = None
    """Ends the waiting for an answer."""

    deadline: float | None = None
    """When, by the monotonic clock, the waiting for an answer ends."""

    pooled: bool = False
    """Whether a pooler stands between: it may lend the session to another client after each transaction. No
    LISTEN then."""

    role: str = "…"
    """The role that is logged in; kept, because a connection that was closed no longer tells."""

    _session_pinned: bool = False
    _transactions: int = 0
    """How many transactions and savepoints of ours are open."""

    @classmethod
    def open(cls, conninfo: str, silence: Silence = _SILENCE) -> Self:
        """Connect, and pin the session's settings if the connection is direct. Raises psycopg's errors."""
        # A prepared statement is the session's, and a pooler may give the next transaction another session.
        conn = cls.connect(
            conninfo, autocommit=True, row_factory=dict_row, client_encoding="utf8", prepare_threshold=None
        )
        # An id is text everywhere here; the driver's UUID objects would be made to be unmade.
        conn.adapters.register_loader("uuid", TextLoader)
        try:
            conn.conninfo, conn.role, conn.silence = conninfo, conn.info.user, silence
            conn.pin_if_direct()
        except BaseException:
            conn.close()
            raise
        return conn

    def pin_if_direct(self) -> None:
        """Find out whether a pooler stands between; if none does, pin the settings for the session.

        One round trip.
        """
        self.isolation_level = IsolationLevel.READ_COMMITTED
        self.deferrable = False
        # A pooler gives the driver a number of its own.
        driver_pid = self.info.backend_pid
        self.pooled = self._pin(local=False, pid=driver_pid) != driver_pid
        self._session_pinned = not self.pooled

    def pin_session(self) -> None:
        """Pin the settings for as long as the session lasts.

        This is for a pooler that is known to lend sessions whole.
        """
        if not self._session_pinned:
            self._pin(local=False)
            self._session_pinned = True

    def _pin(self, *, local: bool, pid: int | None = None) -> int:
        """Set them, if the server process is `pid`; returns which one answered."""
        found = self.execute(sql.query("pin"), {"local": local, "pid": pid}).fetchone()
        return int(found["pid"]) if found else 0

    @property
    def unpinned(self) -> bool:
        """Whether a statement sent now would run with settings that are not ours."""
        return not self._session_pinned and not self._transactions

    @contextmanager
    def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,
    ) -> Iterator[psycopg.Transaction]:
        """Do as the driver does.

        One transaction, READ COMMITTED if it is the outermost; with our settings.
        """
        with super().transaction(savepoint_name, force_rollback) as opened, self.begun():
            yield opened

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Have our settings in a transaction that has just begun, until it ends."""
        if self.unpinned:
            self.execute(sql.query("pin"), {"local": True, "pid": None})
        self._transactions += 1
        try:
            yield
        finally:
            self._transactions -= 1

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:  # noqa: ANN401 - the driver's own
        """Wait as the driver does.

        Raises DatabaseUnavailable if the server does not answer, and Interrupted if a stop is asked for.

        Then the connection is closed. An error of the driver's remembers the role: see `role_of`.
        """
        try:
            return super().wait(self._attended(gen), *args, **kwargs)
        except psycopg.Error as exc:
            vars(exc)[_ROLE] = self.role
            raise

    def _attended(self, gen: PQGen[RV]) -> PQGen[RV]:
        patience = self.silence.allowed_s if self.conninfo else self.silence.probe_s
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
            elif not self._going_on() and time.monotonic() - heard > LEAVE_S:
                self.close()
                raise Interrupted("stopped while the server worked on a query, or waited for a lock")
            elif self.left_s < -GRACE_S:
                self.close()
                raise DatabaseUnavailable(
                    "the server did not answer within the time-out",
                    hint="a longer --timeout, or look at the server: `select * from pg_stat_activity`",
                )
            elif time.monotonic() - heard > patience:
                self._look_into_silence(patience)
                heard = time.monotonic()

    @property
    def left_s(self) -> float:
        """How long until the deadline, infinite without one."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def _going_on(self) -> bool:
        return not (self.stop and self.stop.requested)

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
            again=True,
            hint="look at what is between: network, firewall, proxy, pooler",
        )

    def _spoke(self) -> bool:
        """Whether something came while we asked: then the server had ended its work."""
        arrival = select.poll()
        arrival.register(self.fileno(), select.POLLIN)
        return bool(arrival.poll(0))

    def _is_worked_for(self) -> bool:
        """Ask over another connection whether the server works for this one.

        Without an answer, it does not.
        """
        if self.conninfo is None:
            return False
        here = make_conninfo(self.conninfo, host=self.info.host, port=self.info.port)
        try:
            with within(
                self.silence.probe_s, self._going_on, lambda: self._another(here), "the server"
            ) as other:
                other.stop, other.deadline = self.stop, self.deadline
                found = other.execute(sql.query("backend"), {"pid": self.info.backend_pid}).fetchone()
                # Behind a pooler the number is the pooler's own, and tells nothing.
                pooled = not found or found["pid"] != other.info.backend_pid
        except (psycopg.Error, DatabaseUnavailable):
            return False
        except Interrupted:
            self.close()
            raise
        return pooled or bool(found and found["works"])

    @classmethod
    def _another(cls, conninfo: str) -> Self:
        """Connect to ask one question: nothing is pinned."""
        return cls.connect(conninfo, autocommit=True, row_factory=dict_row)
