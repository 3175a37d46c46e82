"""The loop of one session of the daemon: read and publish, check the canary, run periodic tasks, sleep.

    run_once ─▶ report ─▶ canary ─▶ periodic tasks ─▶ sleep ─▶ Wakeup ─▶ run_once

A session first connects (`session.session`). Its first cycle scans everything. Then it serves until its
connection, the lock on the root, or the process ends. `supervisor` opens the next session.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from omnicdc.capture.doorbell import Doorbell, Poll, Wakeup
from omnicdc.capture.reader import limit_reading_idle
from omnicdc.daemon.canary import Canary
from omnicdc.daemon.metrics.meter import Session
from omnicdc.daemon.periodic import PeriodicTasks
from omnicdc.delivery.quarantine import differences, log_difference
from omnicdc.pipeline import run_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.daemon.hooks import Hooks
    from omnicdc.daemon.keeper import Keeper
    from omnicdc.daemon.monitoring import Monitoring
    from omnicdc.daemon.refresher import Refresher
    from omnicdc.daemon.reload import ReloadReport
    from omnicdc.daemon.signals import SignalFlags
    from omnicdc.daemon.systemd import Notifier
    from omnicdc.daemon.timing import Timing
    from omnicdc.db import Connection
    from omnicdc.files.lock import RootLock
    from omnicdc.log.events import Repeating
    from omnicdc.model import Generation
    from omnicdc.state import State

log = structlog.get_logger()

MANY = 16
LONG_DELAY_S = 0.1
SHORT_DELAY_S = 0.01
"""Seconds to wait before the next reading, so that changes gather while there are many writes: LONG_DELAY_S
after a batch of MANY changes, SHORT_DELAY_S after several changes if every reading finds some. During the
delay the writers can use the disk and the processors, and they seldom notify. A client that writes one
project, waits for it and writes the next one is never delayed."""


MOST_LOGGED = 10
"""The most traces that the log line of a generation names."""


@dataclass(slots=True)
class DaemonContext:
    """What several sessions of the daemon share. It lasts until a reload, or the end of the process."""

    config: Config
    root: RootLock
    inputs: Refresher
    hooks: Hooks
    keeper: Keeper
    signals: SignalFlags
    notifier: Notifier
    observe: Callable[[str], None]
    failures: Repeating
    """The failures since a session last published. They are retried."""
    reload: ReloadReport
    monitoring: Monitoring
    timing: Timing
    standby: bool
    started: bool = False
    """Whether a session of this process has published. From then on, every failure is retried."""
    can_return: bool = False
    """Whether another configuration has published before this one."""
    quarantine: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The quarantine as it was last logged, by registry and project. Only differences from it are logged."""
    status: str = ""
    """One line about the last generation, for `systemctl status`."""

    def may_return(self) -> bool:
        """Whether the configuration from before can go on, because this one has published nothing yet."""
        return self.can_return and self.reload.is_starting

    def going_on(self) -> bool:
        """Whether no stop and no reload was requested, and we still hold the lock on the root."""
        return self.signals.going_on() and self.root.kept()


@dataclass(frozen=True, slots=True)
class Sleep:
    """What ends a sleep besides a notification: a signal, or new inputs.

    New inputs do not end the sleep while a canary's notification is expected.
    """

    context: DaemonContext
    canary: Canary

    def going_on(self) -> bool:
        """Whether to continue sleeping."""
        news = self.context.inputs.has_news and not self.canary.flying
        return self.context.signals.going_on() and not news


def serve(context: DaemonContext, conn: Connection, state: State) -> None:
    """Work until the log is dry, then sleep; returns when asked to stop or reload, or without the root."""
    state.input_refresher = context.inputs
    doorbell = Poll() if context.config.wake == "poll" else Doorbell(conn)
    wakeup, streak = Wakeup.DUE, 0
    with (
        Canary(conn, state, context.timing.notification_s) as canary,
        context.monitoring.session(
            conn, Session(state, doorbell, canary, context.hooks), context.failures.count
        ),
    ):
        periodic = PeriodicTasks(
            conn, state, context.inputs, canary, context.timing, context.monitoring.heartbeat
        )
        sleep = Sleep(context, canary)
        while context.going_on():
            context.inputs.take(state)
            state.background_faults = (
                *context.hooks.faults(),
                *context.keeper.faults(),
                *context.monitoring.faults(),
            )
            began_at = time.monotonic()
            generation = run_once(conn, state, context.observe)
            if generation:
                if context.failures.count:
                    limit_reading_idle(conn, context.timing.reading_idle_s)
                report(context, generation)
            context.notifier.current_at = datetime.now(UTC)
            context.hooks.cycle_ended(generation, state)
            context.keeper.cycle_ended(generation, state)
            context.monitoring.cycle_ended(began_at, generation, state)
            canary.settle(wakeup)
            _notify(context, canary, wakeup)
            if periodic.run() or canary.sent_beside_writers(wakeup):
                continue
            if generation:
                doorbell.reset_nap()
                context.signals.stop.wait(coalesce_delay_s(generation.changes, streak))
            due_in_s = min(periodic.due_in_s, state.schedule.due_in_s)
            wakeup, state.parked = doorbell.wait(state.snapshot, sleep, due_in_s, canary.send)
            streak = streak + 1 if wakeup is Wakeup.CHANGES else 0


def _notify(context: DaemonContext, canary: Canary, wakeup: Wakeup) -> None:
    """Report to systemd.

    The watchdog gets its signal unless notifications do not arrive. The daemon is ready once the result of a
    canary is known, or if busy writers leave no time for a canary.
    """
    if not canary.not_receiving:
        context.notifier.alive()
    if canary.followed or wakeup.writers_busy:
        context.reload.in_force()
        fault = f"; {canary.fault.reason}" if canary.fault else ""
        context.notifier.tell(context.status + fault)


def status_line(generation: Generation) -> str:
    """Return the line for `systemctl status` after a cycle: how far the files are behind CMP.

    A cycle publishes everything that was committed when it began, so that the daemon has no lag after it,
    except in the registries that are held or postponed.
    """
    line = f"generation {generation.number} of {generation.at:%Y-%m-%dT%H:%M:%SZ}, lag 0 s"
    if generation.held:
        line += f"; held: {', '.join(generation.held)}"
    if generation.postponed:
        line += f"; waiting for a full scan: {', '.join(generation.postponed)}"
    return line


def coalesce_delay_s(changes: int, streak: int) -> float:
    """Return how many seconds to let changes gather before the next reading.

    `changes` is the size of the last batch; `streak` is the number of readings in a row without a sleep.
    """
    if changes >= MANY:
        return LONG_DELAY_S
    return SHORT_DELAY_S if changes > 1 and streak > 1 else 0.0


def report(context: DaemonContext, generation: Generation) -> None:
    """Log one line for a cycle that published or read something, and the changes of the quarantine."""
    context.failures.recovered()
    traceparents = [trace.traceparent for trace in generation.traces[:MOST_LOGGED]]
    log.info(
        "published" if generation.registries else "no_change",
        generation=generation.number,
        changes=generation.changes,
        projects=generation.projects if generation.projects is not None else "all",
        scanners=generation.scanners,
        registries=generation.registries,
        ms={stage: round(ms, 2) for stage, ms in generation.timings.items()},
        **(
            {"held": {name: fault.reason for name, fault in generation.held.items()}}
            if generation.held
            else {}
        ),
        **({"traceparents": traceparents} if traceparents else {}),
        **(
            {"quarantined": {name: len(held) for name, held in generation.quarantined.items()}}
            if generation.quarantined
            else {}
        ),
    )
    for difference in differences(context.quarantine, generation.quarantined):
        log_difference(difference)
    context.quarantine = generation.quarantined
    context.status = status_line(generation)
    if not context.started:
        context.started = True
        log.info("serving", root=str(context.config.require_output_root()), consumer=context.config.consumer)
