"""A daemon's session from within: opened as the daemon does, and it does what it is told to, once.

`host` starts the command; here nothing is started, so that what takes a minute by the clock can be asked for
at once.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from omnicdc.daemon.canary import Canary
from omnicdc.daemon.periodic import PeriodicTasks
from omnicdc.daemon.refresher import Refresher
from omnicdc.daemon.session import session
from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.inputs.watches import MOST, Watches
from omnicdc.pipeline import run_once
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.db import Connection
    from omnicdc.model import Generation
    from omnicdc.state import State
    from support.host import Host


class Opened:
    """A session that does what it is told to, once."""

    def __init__(
        self, conn: Connection, state: State, inputs: Refresher, canary: Canary, timing: Timing
    ) -> None:
        self.conn, self.state, self.inputs, self.canary = conn, state, inputs, canary
        self._timing = timing

    def publish(self) -> Generation | None:
        return run_once(self.conn, self.state)

    def keep_house(self) -> None:
        """Do what is due at first, and the batch of pruning that this may have begun."""
        house = PeriodicTasks(self.conn, self.state, self.inputs, self.canary, self._timing)
        assert house.run()
        house.run()


@contextmanager
def opened(host: Host, timing: Timing = USUAL, most: int | None = MOST, **env: str) -> Iterator[Opened]:
    """Open a session with these durations, and with a configuration of these variables.

    `most` directories are watched; None: watching is off.
    """
    watches = None if most is None else Watches(most)
    config, stop = host.config(**env), Stop()
    with (
        Refresher(config, stop, watches, timing) as inputs,
        session(
            config,
            inputs.current,
            stop,
            wait_for_server=False,
            wait_for_name=False,
            statement_timeout=timing.statement_timeout,
        ) as (conn, state),
        Canary(conn, state, timing.notification_s) as canary,
    ):
        state.input_refresher = inputs
        inputs.take(state)
        yield Opened(conn, state, inputs, canary, timing)


def publish(host: Host) -> None:
    """Do as `omnicdc run --once`, without the start of a process."""
    with opened(host) as one:
        one.publish()
