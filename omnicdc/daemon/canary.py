"""The daemon's test of itself: a no-op change, a canary, that must pass through the whole pipeline.

It is written through another connection, logged by the real trigger function, notified, received, read and
acknowledged, as a change of CMP is. The daemon reports itself healthy only if its last canary arrived.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING

import psycopg
import structlog

from omnicdc import db
from omnicdc.capture.doorbell import Wakeup
from omnicdc.daemon.timing import USUAL
from omnicdc.delivery.acknowledge import acknowledge
from omnicdc.errors import ConfigError, DatabaseUnavailable, OmnicdcError
from omnicdc.model import Fault

if TYPE_CHECKING:
    from typing import Self

    from omnicdc.state import State

log = structlog.get_logger()

POLL_ONCE_S = 0.001
"""Time-out of a look that should not wait."""

QUEUE_FULL_SHARE = 0.5
"""Of the server's queue of notifications; beyond it writers do not ring (sql/functions/notify_consumers.sql
has the same number)."""

NOT_NOTED = Fault(
    "changes are not noted: the trigger function leaves no trace of them", "run `omnicdc install`"
)
QUEUE_FULL = Fault(
    "writers cannot ring: the server's queue of notifications is more than half full; changes arrive by "
    "polling",
    "a session that uses LISTEN has a long open transaction: `select pid, xact_start, query from "
    "pg_stat_activity "
    "order by xact_start`",
)
DEAF = Fault(
    "notifications do not arrive here; changes arrive by polling",
    "connect to PostgreSQL itself, or to a pool in session mode; or set `wake: poll`",
)
NOT_ACKNOWLEDGED = Fault(
    "what is acknowledged does not show in the database",
    "check whether this DSN reaches two different servers",
)


UNSENT = "the no-op change that tests the capture cannot be sent"
SECOND_CONNECTION = (
    "the daemon needs two connections: see `connection limit` of its role and of the database, "
    "and max_connections"
)
_UNSENT_HINTS = {
    "42501": "run `omnicdc install`: it renews the daemon's rights",
    "42P10": "a publication carries omnicdc.canary with a column list or a row filter: `alter publication … "
    "set table` without them",
    "53100": "the server's disk is full",
    "55000": "a publication carries a table of omnicdc that has no replica identity: run `omnicdc install`",
    "55P03": "another session holds a lock on omnicdc.canary: `select * from pg_locks where relation = "
    "'omnicdc.canary'::regclass`",
    "57014": "it was canceled, or the statement_timeout of the daemon's role is too short",
}
"""By SQLSTATE."""

FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 60.0
"""Between two attempts to send one where that fails: doubling, as an attempt may take seconds."""


@dataclass(frozen=True, slots=True)
class Flight:
    """How far a canary came."""

    noted: bool
    rung: bool
    acknowledged: bool
    queue_usage: float


def diagnose(flight: Flight) -> Fault | None:
    """Return what a canary's flight tells; None if it came home."""
    if not flight.noted:
        return NOT_NOTED
    if not flight.rung:
        return QUEUE_FULL if flight.queue_usage >= QUEUE_FULL_SHARE else DEAF
    return None if flight.acknowledged else NOT_ACKNOWLEDGED


def unsent(exc: psycopg.Error | OmnicdcError) -> Fault:
    """Return what keeps a canary from being sent, told apart by SQLSTATE.

    The reason is the server's own sentence.
    """
    if isinstance(exc, OmnicdcError):
        # No second connection. What the first one has to say is not known to be wrong.
        return Fault(
            f"{UNSENT}: {exc.message}", exc.hint if isinstance(exc, ConfigError) else SECOND_CONNECTION
        )
    sentence = (str(exc).strip() or type(exc).__name__).splitlines()[0]
    hint = db.read_only(exc) if exc.sqlstate == "25006" else _UNSENT_HINTS.get(exc.sqlstate or "")
    if hint is None and isinstance(exc, psycopg.OperationalError):
        hint = SECOND_CONNECTION
    if hint is None:
        return Fault(f"changes cannot be noted: {sentence}", "run `omnicdc install`")
    return Fault(f"{UNSENT}: {sentence}", hint)


class Stage(Enum):
    """Where the next canary is."""

    RESTING = auto()
    """None is needed before the next heartbeat."""
    DUE = auto()
    """One should be sent at the next quiet moment."""
    FLYING = auto()
    """One is under way."""


@dataclass(slots=True)
class Canary:
    """Sends them, one at a time, for one session.

    A context manager, which calls off the one that is under way.
    """

    conn: db.Connection
    state: State
    notification_s: float = USUAL.notification_s
    """How long one is listened for."""
    stage: Stage = Stage.DUE
    followed: bool = False
    """Whether what became of one is known, or that it could not be sent."""
    fault: Fault | None = None
    """What the last one showed."""
    heard: bool = False
    """Whether a notification arrived in this session, a canary's or a writer's."""
    _unsent: Fault | None = None
    _next_try_s: float = 0.0
    _retry_at: float = 0.0
    _sender: db.Connection | None = None
    _token: str = field(default="", repr=False)

    @property
    def flying(self) -> bool:
        """Whether one is under way."""
        return self.stage is Stage.FLYING

    @property
    def deaf(self) -> bool:
        """Whether notifications no longer arrive here.

        This session or its connection is to blame, not the database.
        """
        return self.fault is DEAF

    def ask(self) -> None:
        """Have one sent at the next quiet moment."""
        if self.stage is Stage.RESTING:
            self.stage = Stage.DUE

    def retry(self) -> None:
        """Have one sent soon if something is wrong, so that its end is noticed.

        Rarely, if it is sending that fails.
        """
        if self.fault is not None and time.monotonic() >= self._retry_at:
            self.ask()

    def sent_beside_writers(self, wakeup: Wakeup) -> bool:
        """Send one although writers are busy, where only that shows whether a fault is over.

        A fault that concerns notifications is not one of these.
        """
        may = self.fault is not None and self.fault not in (DEAF, QUEUE_FULL)
        if not (wakeup.writers_busy and self.stage is Stage.DUE and may):
            return False
        self.send()
        return True

    def send(self) -> float | None:
        """Send one if it is due; called when nothing is to be read.

        Returns for how many seconds to listen for it.

        One that cannot be sent is a fault, too, and ends the waiting for it: the daemon is ready all the
        same. If the server does not take a second connection, look at once whether the first one still works.
        """
        if self.stage is not Stage.DUE:
            return None
        self.stage = Stage.RESTING
        try:
            self._sender = db.connect(
                self.state.config.target,
                connect_s=self.state.config.target.silence.probe_s,
                going_on=lambda: not self.state.stop.requested,
                once_more=False,
            )
            self._sender.stop = self.state.stop
            # A silence is no riddle here: this one gives up, and we look ourselves.
            self._sender.conninfo = None
            self._token = db.fetch_one(self._sender, "release_canary")["token"]
        except (psycopg.Error, OmnicdcError) as exc:
            self._call_off()
            self._unsent = unsent(exc)
            self._next_try_s = min(max(self._next_try_s * 2, FIRST_RETRY_S), LONGEST_RETRY_S)
            self._retry_at = time.monotonic() + self._next_try_s
            log.debug("canary_not_sent", error=str(exc))
            return POLL_ONCE_S if isinstance(exc, (psycopg.OperationalError, DatabaseUnavailable)) else None
        self._next_try_s = 0.0
        self.stage = Stage.FLYING
        return self.notification_s

    def settle(self, wakeup: Wakeup) -> None:
        """After the reading that followed, acknowledge it and see how far it came.

        Nothing if none is under way.

        `wakeup` says what ended the sleep before that reading. Raises DatabaseUnavailable if notifications
        did arrive in this session and no longer do, twice in a row: they may arrive at a new connection.
        """
        polling = self.state.config.wake == "poll"
        self.heard |= wakeup is Wakeup.RANG
        unsent_for, self._unsent = self._unsent, None
        if unsent_for:
            # Only now: the session's own connection has just been read from, so it works.
            self._found(unsent_for)
        if self._sender is None:
            return
        acknowledge(self.conn, self.state)
        rung = polling or wakeup is Wakeup.RANG or wakeup.writers_busy
        try:
            asked = {"token": self._token, "name": self.state.config.consumer}
            fault = diagnose(Flight(rung=rung, **db.fetch_one(self._sender, "canary", asked)))
            db.execute(self._sender, "forget_canary", {"token": self._token})
        except (psycopg.Error, OmnicdcError) as exc:
            fault = unsent(exc)
        self._call_off()
        self._found(fault)

    def _found(self, fault: Fault | None) -> None:
        before, self.fault = self.fault, fault
        self.followed = True
        if fault != before:
            self._say(before, fault)
        if fault is DEAF and before is not DEAF:
            self.conn.execute("listen omnicdc_change")
            self.ask()
        elif fault is DEAF and self.heard:
            raise DatabaseUnavailable(DEAF.reason, hint=DEAF.hint)

    def _say(self, before: Fault | None, fault: Fault | None) -> None:
        self.state.delivery_fault, self.state.delivery_fault_since = (
            fault,
            datetime.now(UTC) if fault else None,
        )
        if fault:
            log.warning("canary_lost", reason=fault.reason, hint=fault.hint)
        elif before:
            log.info("canary_ok", was=before.reason)

    def _call_off(self) -> None:
        sender, self._sender = self._sender, None
        if self.flying:
            self.stage = Stage.RESTING
        if sender:
            sender.close()

    def __enter__(self) -> Self:
        """None is out yet."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Call off the one that is out."""
        self._call_off()
