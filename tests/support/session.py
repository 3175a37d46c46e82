"""A session of the daemon within the process of the test.

`support.host` starts the command. Here the test calls each step itself, so it need not wait for timers.
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
    """An open session whose steps a test calls."""

    def __init__(
        self, conn: Connection, state: State, inputs: Refresher, canary: Canary, timing: Timing
    ) -> None:
        self.conn, self.state, self.inputs, self.canary = conn, state, inputs, canary
        self._timing = timing

    def publish(self) -> Generation | None:
        return run_once(self.conn, self.state)

    def run_periodic_tasks(self) -> None:
        """Run the tasks that are due at the start, and the batch of pruning that they may begin."""
        tasks = PeriodicTasks(self.conn, self.state, self.inputs, self.canary, self._timing)
        assert tasks.run()
        tasks.run()


@contextmanager
def opened(host: Host, timing: Timing = USUAL, most: int | None = MOST, **env: str) -> Iterator[Opened]:
    """Open a session with these durations and environment variables.

    At most `most` directories are watched; with None, watching is off.
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
    """Publish as `omnicdc run --once` does, without a new process."""
    with opened(host) as one:
        one.publish()
