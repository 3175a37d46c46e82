"""Does in a thread what may block for long, and gives up waiting for it when told to.

Looking up a name, connecting.

The driver's time-out for connecting counts for each address of each host, and a lookup of a name has none.
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
    """What is opened."""

    def close(self) -> None:
        """Close it; a repeat is harmless."""


Opened = TypeVar("Opened", bound=Closable)


def within(
    budget_s: float | None, going_on: Callable[[], bool] | None, make: Callable[[], Opened], where: str
) -> Opened:
    """Return what `make` opens, or raise what it raises.

    Raises DatabaseUnavailable after `budget_s`, and Interrupted as soon as it need not go on. What `make`
    opens later is closed.
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
    """Wait until it has ended, and return whether it did within the budget.

    Raises Interrupted if it need not go on.
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
        # A daemon thread: the process can end while a name server keeps it waiting.
        threading.Thread(target=self._run, name="connecting", daemon=True).start()

    def _run(self) -> None:
        try:
            opened = self._make()
        except BaseException as exc:  # noqa: BLE001 - raised where it is waited for
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
        assert self._opened is not None  # noqa: S101 - it has ended
        return self._opened

    def abandon(self) -> None:
        """Close what was opened, or will be."""
        self._abandoned = True
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
