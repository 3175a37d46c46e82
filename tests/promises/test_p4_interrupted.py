"""P4, P5: a signal that interrupts a wait (^C, an alarm) does not affect the next wait."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from promises.test_p4_few_connections import connections, new_client, threads
from support.host import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.host import Host

TIMES = 25


class Interrupt(BaseException):
    """Like KeyboardInterrupt, but raised by these tests only."""


class Alarm(Exception):  # noqa: N818 - a usual name in programs
    """An exception that a program's handler of an alarm may raise."""


@contextmanager
def alarms(kind: type[BaseException]) -> Iterator[None]:
    """Let SIGALRM raise this exception."""

    def handle(*_signal: object) -> None:
        raise kind

    before = signal.signal(signal.SIGALRM, handle)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Python only reports an exception that a signal raises in a finalizer, and then drops it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [Interrupt, Alarm])
def test_interrupted_waits_leave_nothing_behind(cmp: Cmp, host: Host, kind: type[BaseException]) -> None:
    """Regression: the pool kept their requests and gave them the next connections.

    Soon no connection was left for other waits.
    """
    daemon = host.daemon()
    daemon.process.send_signal(signal.SIGSTOP)
    cmp.upsert("P")
    interrupted, after = 0, set()
    with new_client(host, OMNICDC_WAIT_CONNECTIONS="2") as client:
        client.wait(timeout=0)
        with alarms(kind):
            for number in range(TIMES):
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0003 * (number % 40))
                try:
                    client.wait(timeout=1)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except kind:
                    interrupted += 1
                after.add(client.wait(timeout=0)["verdict"])
        shared = client._lease.pool()
        while_stopped = client.wait(timeout=0.05)
        daemon.process.send_signal(signal.SIGCONT)
        afterwards = client.propagate_project("P")

    assert interrupted > TIMES / 2
    # Regression: a connection in the middle of a pipeline was given to the following waits.
    assert after == {"timeout"}
    assert while_stopped["verdict"] == "timeout", while_stopped
    assert afterwards["verdict"] == "published"
    assert shared._waiters == set()
    until(lambda: threads() == set(), "all threads have ended")
    until(lambda: connections(cmp) == 0, "all connections are closed")
