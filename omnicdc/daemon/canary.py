"""Sends canaries: no-op changes that test the whole pipeline, from the trigger to the acknowledgement.

A canary is written through a second connection. The real trigger function logs it and notifies. The daemon
receives the notification, reads the canary and acknowledges it, as it does with a change of CMP. The daemon
reports itself healthy only if its last canary passed all these steps.
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
from omnicdc.capture.doorbell import NOT_RECEIVING, QUEUE_FULL, QUEUE_FULL_SHARE, Wakeup
from omnicdc.daemon.timing import USUAL
from omnicdc.delivery.acknowledge import acknowledge
from omnicdc.errors import ConfigError, DatabaseUnavailable, OmnicdcError
from omnicdc.model import Fault

if TYPE_CHECKING:
    from typing import Self

    from omnicdc.state import State

log = structlog.get_logger()

POLL_ONCE_S = 0.001
"""Time-out in seconds of a check that should not wait."""

NOT_NOTED = Fault(
    "changes are not noted: the trigger function leaves no trace of them", "run `omnicdc install`"
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
"""Remedies by SQLSTATE."""

FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 60.0
"""Seconds between two attempts to send a canary after a failure. The time doubles from the first value to the
longest one, because an attempt may take seconds."""


@dataclass(frozen=True, slots=True)
class Flight:
    """Which steps of the pipeline a canary passed."""

    noted: bool
    """The trigger function wrote it to the log."""
    rung: bool
    """A notification arrived, or none was needed."""
    acknowledged: bool
    """The database has the acknowledgement of it."""
    queue_usage: float
    """How full the server's notification queue is: 0 to 1."""


def diagnose(flight: Flight) -> Fault | None:
    """Return the fault that a canary shows; None if it passed all steps."""
    if not flight.noted:
        return NOT_NOTED
    if not flight.rung:
        return QUEUE_FULL if flight.queue_usage >= QUEUE_FULL_SHARE else NOT_RECEIVING
    return None if flight.acknowledged else NOT_ACKNOWLEDGED


def unsent(exc: psycopg.Error | OmnicdcError) -> Fault:
    """Return the fault that kept a canary from being sent.

    The fault's reason contains the server's message; its hint depends on the SQLSTATE.
    """
    if isinstance(exc, OmnicdcError):
        # There is no second connection. So the fault says nothing about the capture.
        return Fault(
            f"{UNSENT}: {exc.message}", exc.hint if isinstance(exc, ConfigError) else SECOND_CONNECTION
        )
    sentence = (str(exc).strip() or type(exc).__name__).splitlines()[0]
    hint = (
        db.read_only_remedy(db.role_of(exc))
        if exc.sqlstate == "25006"
        else _UNSENT_HINTS.get(exc.sqlstate or "")
    )
    if hint is None and isinstance(exc, psycopg.OperationalError):
        hint = SECOND_CONNECTION
    if hint is None:
        return Fault(f"changes cannot be noted: {sentence}", "run `omnicdc install`")
    return Fault(f"{UNSENT}: {sentence}", hint)


class Stage(Enum):
    """The state of the next canary."""

    RESTING = auto()
    """No canary is needed before the next heartbeat."""
    DUE = auto()
    """A canary should be sent as soon as no writer is open and no change is waiting."""
    FLYING = auto()
    """A canary was sent, and its result is not known yet."""


@dataclass(slots=True)
class Canary:
    """Sends canaries, one at a time, for one session of the daemon.

    This is a context manager; at its end it discards a canary whose result is not known yet.
    """

    conn: db.Connection
    state: State
    notification_s: float = USUAL.notification_s
    """How many seconds to wait for a canary's notification."""
    stage: Stage = Stage.DUE
    followed: bool = False
    """Whether the result of a canary is known. A failure to send one is a result, too."""
    fault: Fault | None = None
    """The fault that the last canary showed."""
    passed_at: datetime | None = None
    """When the last canary of this session passed all steps."""
    took_s: float = 0.0
    """How many seconds that one took, from its sending to the check of its acknowledgement."""
    received_any: bool = False
    """Whether a notification arrived in this session, for a canary or from a writer."""
    _unsent: Fault | None = None
    _next_try_s: float = 0.0
    _retry_at: float = 0.0
    _sent_at: float = 0.0
    _sender: db.Connection | None = None
    _token: str = field(default="", repr=False)

    @property
    def flying(self) -> bool:
        """Whether a canary was sent whose result is not known yet."""
        return self.stage is Stage.FLYING

    @property
    def not_receiving(self) -> bool:
        """Whether notifications do not arrive. The cause is this session, not the database."""
        return self.fault is NOT_RECEIVING

    def request(self) -> None:
        """Request a canary. The session sends it as soon as no writer is open and no change is waiting."""
        if self.stage is Stage.RESTING:
            self.stage = Stage.DUE

    def retry(self) -> None:
        """If there is a fault, request a canary, to detect the end of the fault.

        If the fault is that sending fails, this requests one only after the retry pause.
        """
        if self.fault is not None and time.monotonic() >= self._retry_at:
            self.request()

    def sent_beside_writers(self, wakeup: Wakeup) -> bool:
        """Send a canary although writers are busy, if only that can show the end of a fault.

        Faults of notifications are excluded: while writers are busy, a canary says nothing about
        notifications. Returns whether `send` was called.
        """
        may = self.fault is not None and self.fault not in (NOT_RECEIVING, QUEUE_FULL)
        if not (wakeup.writers_busy and self.stage is Stage.DUE and may):
            return False
        self.send()
        return True

    def send(self) -> float | None:
        """Send a canary if one is due. The doorbell calls this when no change is waiting.

        Returns how many seconds to wait for its notification; None for no special time limit.

        A canary that cannot be sent is a fault, but the daemon does not wait for another one before it is
        ready. If the server accepts no second connection, this returns a very short time, so that the first
        connection is checked at once.
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
            # If the server is silent, this connection must give up, and not open a third connection to ask.
            self._sender.conninfo = None
            self._sent_at = time.monotonic()
            self._token = db.fetch_one(self._sender, "release_canary")["token"]
        except (psycopg.Error, OmnicdcError) as exc:
            self._discard()
            self._unsent = unsent(exc)
            self._next_try_s = min(max(self._next_try_s * 2, FIRST_RETRY_S), LONGEST_RETRY_S)
            self._retry_at = time.monotonic() + self._next_try_s
            log.debug("canary_not_sent", error=str(exc))
            return POLL_ONCE_S if isinstance(exc, (psycopg.OperationalError, DatabaseUnavailable)) else None
        self._next_try_s = 0.0
        self.stage = Stage.FLYING
        return self.notification_s

    def settle(self, wakeup: Wakeup) -> None:
        """After a reading of the log, acknowledge the canary and determine its result.

        Does nothing if no canary was sent. `wakeup` says what ended the sleep before that reading. Raises
        DatabaseUnavailable if notifications arrived in this session earlier, but not for the last two
        canaries: they may arrive on a new connection.
        """
        polling = self.state.config.wake == "poll"
        self.received_any |= wakeup is Wakeup.RANG
        unsent_fault, self._unsent = self._unsent, None
        if unsent_fault:
            # The fault is recorded only now: the reading has just shown that the session's connection works.
            self._record(unsent_fault)
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
        self._discard()
        self._record(fault)

    def _record(self, fault: Fault | None) -> None:
        """Record the result of a canary. For the first lost notification, LISTEN again and retry at once."""
        before, self.fault = self.fault, fault
        self.followed = True
        if fault is None:
            self.passed_at, self.took_s = datetime.now(UTC), time.monotonic() - self._sent_at
        if fault != before:
            self._log(before, fault)
        if fault is NOT_RECEIVING and before is not NOT_RECEIVING:
            self.conn.execute("listen omnicdc_change")
            self.request()
        elif fault is NOT_RECEIVING and self.received_any:
            raise DatabaseUnavailable(NOT_RECEIVING.reason, hint=NOT_RECEIVING.hint)

    def _log(self, before: Fault | None, fault: Fault | None) -> None:
        self.state.delivery_fault, self.state.delivery_fault_since = (
            fault,
            datetime.now(UTC) if fault else None,
        )
        if fault:
            log.warning("canary_lost", reason=fault.reason, hint=fault.hint)
        elif before:
            log.info("canary_ok", was=before.reason)

    def _discard(self) -> None:
        """Close the second connection, and forget the canary that was sent through it."""
        sender, self._sender = self._sender, None
        if self.flying:
            self.stage = Stage.RESTING
        if sender:
            sender.close()

    def __enter__(self) -> Self:
        """Return the object itself. No canary was sent yet."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Discard a canary whose result is not known yet."""
        self._discard()
