"""P4, P5: a wait that a signal interrupts (^C, an alarm) takes nothing away from the next one."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from promises.test_p4_few_connections import client, connections, threads
from support.host import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.host import Host

TIMES = 25


class Interrupt(BaseException):
    """As KeyboardInterrupt, but one of ours."""


class Alarm(Exception):  # noqa: N818 - as programs have them
    """What the alarm's handler of a program may raise."""


@contextmanager
def alarms(kind: type[BaseException]) -> Iterator[None]:
    """Have SIGALRM raise it."""

    def ring(*_signal: object) -> None:
        raise kind

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Python tells of a signal that it met in a finalizer, and loses it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [Interrupt, Alarm])
def test_waits_that_were_interrupted_leave_nothing_behind(
    cmp: Cmp, host: Host, kind: type[BaseException]
) -> None:
    """The pool kept their requests, and gave them the next connections: soon there were none for others."""
    daemon = host.daemon()
    daemon.process.send_signal(signal.SIGSTOP)
    cmp.upsert("P")
    interrupted, after = 0, set()
    with client(host, OMNICDC_WAIT_CONNECTIONS="2") as asking:
        asking.wait(timeout=0)
        with alarms(kind):
            for time in range(TIMES):
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0003 * (time % 40))
                try:
                    asking.wait(timeout=1)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except kind:
                    interrupted += 1
                after.add(asking.wait(timeout=0)["verdict"])
        shared = asking._lease.pool()
        not_yet = asking.wait(timeout=0.05)
        daemon.process.send_signal(signal.SIGCONT)
        at_last = asking.propagate_project("P")

    assert interrupted > TIMES / 2
    assert after == {
        "timeout"
    }  # a connection in the middle of a pipeline was lent to the next one, and the next
    assert not_yet["verdict"] == "timeout", not_yet
    assert at_last["verdict"] == "published"
    assert shared._waiters == set()
    until(lambda: threads() == set(), "all threads have ended")
    until(lambda: connections(cmp) == 0, "all connections are closed")
