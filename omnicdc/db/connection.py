"""A psycopg connection that pins the settings that we depend on, and that detects a silent server.

A database or a role may set any parameter for its own sessions. So we set the parameters that we depend on:
this is called pinning. On a direct connection they are pinned once, for the session. A pooler may give the
session to another client after each transaction, so behind a pooler they are pinned in each transaction.

A broken proxy may forward nothing and still acknowledge every packet, keepalives included. TCP then sees no
fault, and we would wait for an answer for ever. So after some seconds of silence we ask the server, over a
second connection, whether it works on our query. If it does, or if the query waits for a lock, we wait as
long as it takes, unless a stop is requested.
"""

from __future__ import annotations

import re
import select
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import IsolationLevel
from psycopg import errors as pg
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

_SESSION_ENDED = (pg.IdleInTransactionSessionTimeout, pg.TransactionTimeout)
"""The server ends the session with these. psycopg counts them as errors of a statement (InternalError)."""

LEAVE_S = 0.5
"""How long we still wait for an answer after a stop was requested.

The query may wait for a lock on CMP's table, which another session may hold for hours.
"""


GRACE_S = 1.0
"""How long after the deadline an answer is still accepted.

The query was sent in time, and a late answer is better than none.
"""


def role_of(exc: psycopg.Error) -> str:
    """Return the role of the connection on which `exc` was raised, quoted for SQL if necessary.

    Returns `…` if the role is not known.
    """
    return quoted_role(str(vars(exc).get(_ROLE, "…")))


def quoted_role(name: str) -> str:
    """Return the name of a role, in double quotes if SQL needs them."""
    return name if _PLAIN.fullmatch(name) else '"{}"'.format(name.replace('"', '""'))


_ROLE = "omnicdc_role"
_PLAIN = re.compile("[a-z_][a-z0-9_]*|…")


_SILENCE = Silence()


class Connection(psycopg.Connection[Row]):
    """A connection in autocommit mode whose rows are dicts."""

    conninfo: str | None = None
    """The connection string for the second connection that asks about a silent server. If None, this
    connection gives up after `silence.probe_s` seconds without an answer."""

    sources: str = ""
    """Where the connection string and the password were configured. It never contains their values."""

    silence: Silence = _SILENCE

    stop: Stop | None = None
    """If a stop is requested, this connection no longer waits for an answer."""

    deadline: float | None = None
    """The time, by the monotonic clock, at which this connection no longer waits for an answer."""

    behind_pooler: bool = False
    """Whether a pooler is between us and the server. It may give the session to another client after each
    transaction, so LISTEN does not work."""

    role: str = "…"
    """The role that is logged in. It is stored, because a closed connection no longer knows its role."""

    _session_pinned: bool = False
    _transactions: int = 0
    """How many transactions and savepoints are open that were opened through this class."""

    @classmethod
    def open(cls, conninfo: str, silence: Silence = _SILENCE) -> Self:
        """Connect, and pin the session's settings if the connection is direct. Raises psycopg's errors."""
        # No prepared statements: they belong to one session, and a pooler changes sessions.
        conn = cls.connect(
            conninfo, autocommit=True, row_factory=dict_row, client_encoding="utf8", prepare_threshold=None
        )
        # Ids are text everywhere in omnicdc, so psycopg need not convert them to UUID objects.
        conn.adapters.register_loader("uuid", TextLoader)
        try:
            conn.conninfo, conn.role, conn.silence = conninfo, conn.info.user, silence
            conn.pin_if_direct()
        except BaseException:
            conn.close()
            raise
        return conn

    def pin_if_direct(self) -> None:
        """Detect whether a pooler is between us and the server; if not, pin the settings for the session.

        This takes one round trip.
        """
        self.isolation_level = IsolationLevel.READ_COMMITTED
        self.deferrable = False
        # A pooler reports a process id of its own to psycopg, not the server's.
        driver_pid = self.info.backend_pid
        self.behind_pooler = self._pin(local=False, pid=driver_pid) != driver_pid
        self._session_pinned = not self.behind_pooler

    def pin_session(self) -> None:
        """Pin the settings for the session, unless they are pinned already.

        Behind a pooler, call this only if the pooler is in session mode: see `pooler`.
        """
        if not self._session_pinned:
            self._pin(local=False)
            self._session_pinned = True

    def _pin(self, *, local: bool, pid: int | None = None) -> int:
        """Set the parameters if `pid` is None or the server process's id; return the server process's id.

        With `local`, they are set for the current transaction only.
        """
        found = self.execute(sql.query("pin"), {"local": local, "pid": pid}).fetchone()
        return int(found["pid"]) if found else 0

    @property
    def unpinned(self) -> bool:
        """Whether a statement sent now would run without our settings."""
        return not self._session_pinned and not self._transactions

    @contextmanager
    def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,
    ) -> Iterator[psycopg.Transaction]:
        """Open a transaction or a savepoint, as psycopg does, with our settings.

        The outermost transaction is READ COMMITTED.
        """
        with super().transaction(savepoint_name, force_rollback) as opened, self.begun():
            yield opened

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Apply our settings to a transaction that has just begun. The `with` block is the transaction."""
        if self.unpinned:
            self.execute(sql.query("pin"), {"local": True, "pid": None})
        self._transactions += 1
        try:
            yield
        finally:
            self._transactions -= 1

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:  # noqa: ANN401 - the driver's own
        """Wait for the server, as psycopg does.

        Raises DatabaseUnavailable if the server does not answer or ended the session, and Interrupted if a
        stop is requested. In both cases the connection is closed. Every error of psycopg gets the role
        attached: see `role_of`.
        """
        try:
            return super().wait(self._supervised(gen), *args, **kwargs)
        except _SESSION_ENDED as exc:
            raise DatabaseUnavailable(
                f"the server ended the session: {str(exc).strip()}",
                hint="the process was stopped, or got too little of a processor, within a transaction",
                again=True,
                sqlstate=exc.sqlstate,
            ) from exc
        except psycopg.Error as exc:
            vars(exc)[_ROLE] = self.role
            raise

    def _supervised(self, gen: PQGen[RV]) -> PQGen[RV]:
        """Pass everything through from and to `gen`, and check the time whenever the server is silent."""
        allowed_s = self.silence.allowed_s if self.conninfo else self.silence.probe_s
        last_heard, ready = time.monotonic(), None
        while True:
            try:
                # The first call sends None, which starts the generator.
                wish = gen.send(ready)  # type: ignore[arg-type]
            except StopIteration as end:
                result: RV = end.value
                return result
            ready = yield wish
            if ready:
                last_heard = time.monotonic()
            elif not self._going_on() and time.monotonic() - last_heard > LEAVE_S:
                self.close()
                raise Interrupted("stopped while the server worked on a query, or waited for a lock")
            elif self.left_s < -GRACE_S:
                self.close()
                raise DatabaseUnavailable(
                    "the server did not answer within the time-out",
                    hint="a longer --timeout, or look at the server: `select * from pg_stat_activity`",
                )
            elif time.monotonic() - last_heard > allowed_s:
                self._check_silent_server(allowed_s)
                last_heard = time.monotonic()

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; infinite without a deadline."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def _going_on(self) -> bool:
        return not (self.stop and self.stop.requested)

    def _check_silent_server(self, lasted_s: float) -> None:
        """Raise DatabaseUnavailable, and close, if the server does not work on our query."""
        if (
            self.pgconn.transaction_status != TransactionStatus.ACTIVE
            or self._server_works_on_query()
            or self._answer_has_arrived()
        ):
            return
        self.close()
        raise DatabaseUnavailable(
            f"the server owes an answer, has said nothing for {lasted_s:.0f} s and does not work on it",
            again=True,
            hint="look at what is between: network, firewall, proxy, pooler",
        )

    def _answer_has_arrived(self) -> bool:
        """Whether data arrived during the check. Then the server had just finished our query."""
        arrival = select.poll()
        arrival.register(self.fileno(), select.POLLIN)
        return bool(arrival.poll(0))

    def _server_works_on_query(self) -> bool:
        """Ask over a second connection whether the server works on the query of this one.

        Returns false if the second connection gets no answer either. Raises Interrupted, and closes this
        connection, if a stop is requested.
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
                # Behind a pooler, psycopg's process id is the pooler's own, so the answer says nothing.
                behind_pooler = not found or found["pid"] != other.info.backend_pid
        except (psycopg.Error, DatabaseUnavailable):
            return False
        except Interrupted:
            self.close()
            raise
        return behind_pooler or bool(found and found["works"])

    @classmethod
    def _another(cls, conninfo: str) -> Self:
        """Open a connection for one query. No settings are pinned."""
        return cls.connect(conninfo, autocommit=True, row_factory=dict_row)
