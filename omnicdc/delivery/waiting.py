"""The steps of a wait, without I/O: it checks the database, decides, and sleeps until a daemon publishes.

`wait` takes these steps in a thread, `wait_async` in asyncio.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omnicdc.delivery.connections import SLICE_S
from omnicdc.delivery.given import checked, seconds
from omnicdc.delivery.observing import begin, observe
from omnicdc.delivery.verdict import Verdict, decide, give_up, hosts_missing, no_consumer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omnicdc.delivery.asking import Asking
    from omnicdc.delivery.observation import Observation

GRACE_S = 2.0
"""How many seconds no daemon may be alive before the wait reports it. A restart or a take-over takes less."""

PAUSE_S = 0.005
"""The first pause before a check, in seconds. A wait begins to pause after its second notification that did
not end it, and the pause doubles each time."""

PAUSE_MOST_S = 0.1
"""The longest pause before a check. Without pauses, many waits would check after each generation of a busy
daemon."""


@dataclass(frozen=True, slots=True)
class Check:
    """Ask the database, on a connection that is got within some seconds. The answer is the result."""

    asking: Asking[Any]
    within_s: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Sleep until a notification comes that the last check may have missed. The answer: whether one came."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Let some time pass, whatever comes."""

    seconds: float


Steps = Generator[Check | Sleep | Pause, Any, Verdict]
"""The steps of a wait. Each gets its answer; the result is the verdict."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a wait waits, and how it tells the time."""

    timeout_s: float
    clock: Callable[[], float]
    """Seconds that never go back."""
    stopped: Callable[[], bool]
    """Whether to end with what is known."""
    longest_poll_s: Callable[[], float]
    """The longest time between two checks when no notification comes."""
    grace_s: float = GRACE_S
    first_poll_s: float = SLICE_S
    """The first time between two checks; it doubles."""


def waiting(
    token: str | int | None,
    patience: Patience,
    *,
    projects: Sequence[str] | None = None,
    consumer: str | None = None,
    all_hosts: bool = False,
) -> Steps:
    """Wait as `wait.wait` does. Raises ConfigError for a token, a name or a time-out that cannot be."""
    timeout_s, started = seconds(patience.timeout_s), patience.clock()
    poll_s, pause = patience.first_poll_s, 0.0
    goal = yield Check(
        begin(checked(token), projects, consumer, all_hosts=all_hosts), max(timeout_s, SLICE_S)
    )
    while True:
        observed = yield Check(observe(goal), max(timeout_s + started - patience.clock(), SLICE_S))
        waited = patience.clock() - started
        if verdict := _ended(observed, waited, timeout_s, patience):
            return verdict
        left = max(0.0, timeout_s - waited)
        if (yield Sleep(min(poll_s, left))):
            yield Pause(min(pause, left))
            pause = min(PAUSE_MOST_S, pause * 2 or PAUSE_S)
        else:
            poll_s = min(poll_s * 2, patience.longest_poll_s())


def _ended(observed: Observation, waited_s: float, timeout_s: float, patience: Patience) -> Verdict | None:
    """Return the verdict if the wait has ended; None if it should continue.

    The wait ends if the verdict is decided, the time is up, a stop is requested, or no daemon serves a host
    that the wait needs.
    """
    if verdict := decide(observed):
        return verdict
    if waited_s >= timeout_s or patience.stopped():
        return give_up(observed, waited_s=waited_s)
    if waited_s < patience.grace_s or observed.open:
        return None
    if not any(one.alive for one in observed.consumers):
        return no_consumer(observed)
    return hosts_missing(observed) if observed.all_hosts and observed.left_out else None
