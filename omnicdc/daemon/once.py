"""Publishes once, without a daemon, for cron: `omnicdc run --once`."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from omnicdc.capture.doorbell import Poll
from omnicdc.capture.reading_limit import longer_may_help, reading_idle_s
from omnicdc.daemon.hooks import Hooks
from omnicdc.daemon.keeper import Keeper
from omnicdc.daemon.metrics.meter import Meter, Session
from omnicdc.daemon.monitoring import show_once
from omnicdc.daemon.refresher import Refresher
from omnicdc.daemon.root import hold_root
from omnicdc.daemon.session import session
from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.delivery.retention import Retention
from omnicdc.errors import DatabaseUnavailable
from omnicdc.pipeline import run_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.config.settings import Config
    from omnicdc.db import Connection
    from omnicdc.model import Generation
    from omnicdc.state import State
    from omnicdc.stop import Stop

log = structlog.get_logger()

PRUNING_S = 5.0
"""The longest time in seconds for pruning the log."""


def run_to_the_end(
    config: Config, stop: Stop, observe: Callable[[str], None], timing: Timing = USUAL
) -> tuple[Generation | None, State]:
    """Bring every registry up to date once. Every failure is raised, but one.

    If this host renders more slowly than the server lets a reading rest, there is another attempt with a
    longer limit. Returns what the two cycles did as one generation, None if they did nothing; and the state
    at the end.
    """
    with (
        hold_root(config, stop, lambda _for: None, standby=False),
        # No watches: they would report this run's own writes, and there is no later run to use the report.
        Refresher(config, stop, None, timing) as inputs,
    ):
        inputs.wait_for_workspaces()
        for failures in itertools.count():
            idle_s = reading_idle_s(timing.reading_idle_s, failures)
            try:
                return _run(config, stop, observe, inputs, idle_s)
            except DatabaseUnavailable as exc:
                if stop.requested or not longer_may_help(exc, idle_s):
                    raise
                log.warning("session_lost", error=exc.message, hint=exc.advice(retrying=True))
    raise AssertionError("the loop ends by a result or an error")


def _run(
    config: Config, stop: Stop, observe: Callable[[str], None], inputs: Refresher, idle_s: float
) -> tuple[Generation | None, State]:
    with session(config, inputs.current, stop, wait_for_server=False, wait_for_name=False, idle_s=idle_s) as (
        conn,
        state,
    ):
        state.daemon = False
        state.input_refresher = inputs
        inputs.take(state)
        meter = Meter(time.monotonic, config.consumer) if config.metrics_textfile else None
        first = _cycle(conn, state, observe, meter)
        # The GitHub owners are known only after the first cycle. No transaction is open here, because a
        # transaction must not wait for GitHub.
        inputs.wait_for_github()
        inputs.take(state)
        generation = _both(first, _cycle(conn, state, observe, meter))
        while state.schedule.due_in_s < math.inf and not stop.requested:
            stop.wait(state.schedule.due_in_s)
            generation = _both(generation, _cycle(conn, state, observe, meter))
        with Hooks(config, to_the_end=True) as hooks, Keeper(config, to_the_end=True) as keeper:
            hooks.cycle_ended(generation, state)
            keeper.cycle_ended(generation, state)
        # On a host without a daemon, nothing else prunes the log.
        Retention(conn, state).finish(PRUNING_S)
        if meter and config.metrics_textfile:
            show_once(config.metrics_textfile, meter, conn, Session(state, Poll(), hooks=hooks))
        return generation, state


def _cycle(
    conn: Connection, state: State, observe: Callable[[str], None], meter: Meter | None
) -> Generation | None:
    began_at = time.monotonic()
    generation = run_once(conn, state, observe)
    if meter:
        meter.cycle_ended(began_at, generation, state)
    return generation


def _both(first: Generation | None, second: Generation | None) -> Generation | None:
    """Return what two cycles did as one generation."""
    if first is None or second is None:
        return second or first
    return replace(second, registries=tuple(dict.fromkeys(first.registries + second.registries)))
