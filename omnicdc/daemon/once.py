"""Publishes once, without a daemon, for cron: `omnicdc run --once`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from omnicdc.daemon.hooks import Hooks
from omnicdc.daemon.refresher import Refresher
from omnicdc.daemon.root import hold_root
from omnicdc.daemon.session import session
from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.delivery.retention import Retention
from omnicdc.pipeline import run_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.config.settings import Config
    from omnicdc.model import Generation
    from omnicdc.state import State
    from omnicdc.stop import Stop

PRUNING_S = 5.0
"""The longest time in seconds for pruning the log."""


def run_to_the_end(
    config: Config, stop: Stop, observe: Callable[[str], None], timing: Timing = USUAL
) -> tuple[Generation | None, State]:
    """Bring every registry up to date once. Every failure is raised.

    Returns what the two cycles did as one generation, None if they did nothing; and the state at the end.
    """
    with (
        hold_root(config, stop, lambda _for: None, standby=False),
        # No watches: they would report this run's own writes, and there is no later run to use the report.
        Refresher(config, stop, None, timing) as inputs,
    ):
        inputs.wait_for_workspaces()
        with session(config, inputs.current, stop, wait_for_server=False, wait_for_name=False) as (
            conn,
            state,
        ):
            state.daemon = False
            state.input_refresher = inputs
            inputs.take(state)
            first = run_once(conn, state, observe)
            # The GitHub owners are known only after the first cycle. No transaction is open here, because a
            # transaction must not wait for GitHub.
            inputs.wait_for_github()
            inputs.take(state)
            generation = _both(first, run_once(conn, state, observe))
            while state.schedule.due_in_s < math.inf and not stop.requested:
                stop.wait(state.schedule.due_in_s)
                generation = _both(generation, run_once(conn, state, observe))
            with Hooks(config, to_the_end=True) as hooks:
                hooks.cycle_ended(generation, state)
            # On a host without a daemon, nothing else prunes the log.
            Retention(conn, state).finish(PRUNING_S)
            return generation, state


def _both(first: Generation | None, second: Generation | None) -> Generation | None:
    """Return what two cycles did as one generation."""
    if first is None or second is None:
        return second or first
    return replace(second, registries=tuple(dict.fromkeys(first.registries + second.registries)))
