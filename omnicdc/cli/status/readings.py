"""Reads the status again and again over one connection, and survives the loss of this connection.

`watch` shows the readings.
"""

from __future__ import annotations

import select
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from omnicdc import db
from omnicdc.answers.status import examine
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from omnicdc.answers.status import StatusFault
    from omnicdc.config.settings import Config

REFRESH_S = 2.0
"""Seconds after which the status is read again though no consumer has published."""

LEAST_S = 0.25
"""The shortest time between two readings, in seconds, however often consumers publish."""

ANSWER_S = 10.0
"""A server that does not answer for so many seconds counts as lost."""

VOLATILE = {"at", "seen_at", "heartbeat_age_s", "lag_s", "snapshot_xmin"}
"""Keys of the answer that alone are no change: they move with the time."""


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no connection to CMP."""

    since: datetime
    error: str

    def as_dict(self) -> dict[str, Any]:
        """Return it with the keys of the answer of `status`."""
        fault = f"no connection since {self.since:%Y-%m-%dT%H:%M:%SZ}, retrying: {self.error}"
        return {
            "healthy": False, "faults": [fault], "capture": None, "log": None, "consumers": [],
            "database": None, "at": None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """What `status` answered last, and whether the connection is lost since."""

    found: Mapping[str, Any]
    faults: Sequence[StatusFault]
    lost: Lost | None = None

    def as_dict(self) -> Mapping[str, Any]:
        """Return it for JSON."""
        return self.lost.as_dict() if self.lost else self.found

    @property
    def lasting(self) -> object:
        """What must differ in another reading for a change to be reported."""
        return self.lost.since if self.lost else _lasting(self.found)


def readings(config: Config, stdout: int | None) -> Iterator[Reading]:
    """Yield a reading at once, when a consumer publishes, and every REFRESH_S seconds, for ever.

    While there is no connection, yield the last reading with the reason, and try again. End when the reader
    of `stdout` has closed it. Raises OmnicdcError if the first reading fails.
    """
    last: Reading | None = None
    while True:
        try:
            with _session(config) as conn:
                while True:
                    conn.deadline = time.monotonic() + ANSWER_S
                    last = Reading(*examine(conn, max_lag_s=config.max_lag_s))
                    yield last
                    if not _sleep(conn, stdout):
                        return
        except OmnicdcError as exc:
            if last is None:
                raise
            since = last.lost.since if last.lost else datetime.now(UTC)
            last = Reading(last.found, last.faults, Lost(since, exc.message))
            yield last
            if not _pause(stdout):
                return


@contextmanager
def _session(config: Config) -> Iterator[db.Connection]:
    """Open a connection that hears of publications; behind a pooler it does not, and REFRESH_S must do."""
    with db.connect(config.target, connect_s=ANSWER_S) as conn:
        db.check_schema(conn)
        with db.translated("listening to publications"):
            if not conn.behind_pooler:
                conn.execute("listen omnicdc_published")
        yield conn


def _sleep(conn: db.Connection, stdout: int | None) -> bool:
    """Sleep until a consumer has published, at most for REFRESH_S; false if the reader is gone."""
    began = time.monotonic()
    with db.translated("waiting for a publication"):
        heard = list(conn.notifies(timeout=0))
        if not heard and not _wait([conn.fileno()], stdout, REFRESH_S):
            return False
        list(conn.notifies(timeout=0))
    return _wait([], stdout, LEAST_S - (time.monotonic() - began))


def _pause(stdout: int | None) -> bool:
    """Sleep until the next attempt to connect; false if the reader is gone."""
    return _wait([], stdout, REFRESH_S / 2)


def _wait(sockets: Sequence[int], stdout: int | None, at_most_s: float) -> bool:
    """Wait until data arrives, or the time is up; false if the reader of `stdout` has closed it."""
    arrival = select.poll()
    for socket in sockets:
        arrival.register(socket, select.POLLIN)
    if stdout is not None:
        arrival.register(stdout, 0)  # reports only that the other end was closed
    return all(number != stdout for number, _ in arrival.poll(max(0.0, at_most_s) * 1000))


def _lasting(value: object) -> object:
    if isinstance(value, dict):
        return {key: _lasting(each) for key, each in value.items() if key not in VOLATILE}
    return value if not isinstance(value, list) else [_lasting(each) for each in value]
