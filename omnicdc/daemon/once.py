"""One publication without a daemon, for cron: `omnicdc run --once`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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
"""How long it may prune at most."""


def run_to_the_end(
    config: Config, stop: Stop, observe: Callable[[str], None], timing: Timing = USUAL
) -> tuple[Generation | None, State]:
    """Bring every registry up to date once, for cron. Whatever fails is raised."""
    with (
        hold_root(config, stop, lambda _for: None, standby=False),
        # Nothing is watched: what this publication writes would be looked at, and there is no next one.
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
            # Which owners there are is known only now; and GitHub is not waited for inside a transaction.
            inputs.wait_for_github()
            inputs.take(state)
            generation = _both(first, run_once(conn, state, observe))
            # Where there is no daemon, nothing else prunes the log.
            Retention(conn, state).finish(PRUNING_S)
            return generation, state


def _both(first: Generation | None, second: Generation | None) -> Generation | None:
    """Return what two cycles did as one."""
    if first is None or second is None:
        return second or first
    return replace(second, registries=tuple(dict.fromkeys(first.registries + second.registries)))
