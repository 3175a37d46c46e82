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

    def __init__(self, conn: Connection, state: State, inputs: Refresher, canary: Canary) -> None:
        self.conn, self.state, self.inputs, self.canary = conn, state, inputs, canary

    def publish(self) -> Generation | None:
        return run_once(self.conn, self.state)

    def keep_house(self) -> None:
        """Do what is due at first, and the batch of pruning that this may have begun."""
        house = PeriodicTasks(self.conn, self.state, self.inputs, self.canary)
        assert house.run()
        house.run()


@contextmanager
def opened(host: Host, **env: str) -> Iterator[Opened]:
    config, stop = host.config(**env), Stop()
    with (
        Refresher(config, stop) as inputs,
        session(config, inputs.current, stop, wait_for_server=False, wait_for_name=False) as (conn, state),
        Canary(conn, state) as canary,
    ):
        state.looker = inputs
        inputs.take(state)
        yield Opened(conn, state, inputs, canary)


def publish(host: Host) -> None:
    """Do as `omnicdc run --once`, without the start of a process."""
    with opened(host) as one:
        one.publish()
