"""Runs in a thread what may block for long, such as connecting, and limits how long the caller waits for it.

psycopg's connect_timeout applies to each address of each host, and resolving a host name has no time-out at
all. So only a thread makes a limit for the whole attempt possible.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from omnicdc.errors import DatabaseUnavailable, Interrupted
from omnicdc.stop import SLICE_S

if TYPE_CHECKING:
    from collections.abc import Callable


class Closable(Protocol):
    """A resource that `make` opens."""

    def close(self) -> None:
        """Close the resource; a repeat is harmless."""


Opened = TypeVar("Opened", bound=Closable)


def within(
    budget_s: float | None, going_on: Callable[[], bool] | None, make: Callable[[], Opened], where: str
) -> Opened:
    """Call `make` in a thread; return what `make` opens, or raise what it raises.

    Without `budget_s` and `going_on`, no thread is needed, and none is used.

    Raises DatabaseUnavailable after `budget_s` seconds, and Interrupted as soon as `going_on()` returns
    false. If `make` opens something after that, it is closed. `where` names the server in messages.
    """
    if budget_s is None and going_on is None:
        return make()
    attempt = _Attempt(make)
    try:
        _await(attempt.ended, budget_s, going_on, where)
    except BaseException:
        attempt.abandon()
        raise
    return attempt.result()


def _await(
    ended: threading.Event, budget_s: float | None, going_on: Callable[[], bool] | None, where: str
) -> None:
    if not in_time(ended, budget_s, going_on, f"connecting to {where}"):
        raise DatabaseUnavailable(
            f"{where} cannot be reached: no answer within {round(budget_s or 0, 1):g} s",
            hint="is the server up? look at what is between: network, firewall, proxy, name server",
        )


def in_time(
    ended: threading.Event, budget_s: float | None, going_on: Callable[[], bool] | None, doing: str
) -> bool:
    """Wait for the event `ended`, and return whether it came within `budget_s` seconds.

    Raises Interrupted as soon as `going_on()` returns false. `doing` says in that message what was stopped.
    """
    end = float("inf") if budget_s is None else time.monotonic() + budget_s
    while not ended.wait(max(0.0, min(SLICE_S, end - time.monotonic()))):
        if going_on and not going_on():
            raise Interrupted(f"stopped while {doing}")
        if time.monotonic() >= end:
            return False
    return True


class _Attempt(Generic[Opened]):
    def __init__(self, make: Callable[[], Opened]) -> None:
        self.ended = threading.Event()
        self._make = make
        self._opened: Opened | None = None
        self._failure: BaseException | None = None
        self._abandoned = False
        self._lock = threading.Lock()
        # A daemon thread does not keep the process from ending while a name server does not answer.
        threading.Thread(target=self._run, name="connecting", daemon=True).start()

    def _run(self) -> None:
        try:
            opened = self._make()
        except BaseException as exc:  # noqa: BLE001 - `result` raises it again
            self._failure = exc
        else:
            with self._lock:
                self._opened = opened
            if self._abandoned:
                self.abandon()
        self.ended.set()

    def result(self) -> Opened:
        if self._failure is not None:
            raise self._failure
        assert self._opened is not None  # noqa: S101 - the attempt has ended without a failure
        return self._opened

    def abandon(self) -> None:
        """Close what `make` has opened, or close it as soon as `make` returns."""
        self._abandoned = True
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
