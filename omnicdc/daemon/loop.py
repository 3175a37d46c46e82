"""The loop of one session: read and publish, test the path, do what is due by the clock, sleep, and again.

    run_once ─▶ report ─▶ canary ─▶ periodic tasks ─▶ sleep ─▶ Wakeup ─▶ run_once

A session is *connecting* (`session.session`), then *scanning* (its first cycle scans everything), then
*serving* until its connection, the root's lock or the process ends; `supervisor` opens the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from omnicdc.capture.doorbell import Doorbell, Poll, Wakeup
from omnicdc.daemon.canary import Canary
from omnicdc.daemon.periodic import PeriodicTasks
from omnicdc.delivery.quarantine import differences, say
from omnicdc.pipeline import run_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.daemon.refresher import Refresher
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
"""Under a stream of writes the next changes may gather for so long: after a batch of many, or shortly if
several come while there is always something to read. The writers get the disk and the processors
meanwhile, and seldom notify. A client that writes one project, waits and writes the next never meets it,
however quick."""


@dataclass(slots=True)
class DaemonContext:
    """What lasts longer than a session, and shorter than the process: until a reload."""

    config: Config
    root: RootLock
    inputs: Refresher
    signals: SignalFlags
    notifier: Notifier
    observe: Callable[[str], None]
    trouble: Repeating
    """Failures that are retried, until a session publishes."""
    timing: Timing
    standby: bool
    started: bool = False
    """Whether a session of this process has published: from then on, every failure is retried."""
    quarantine: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What was held back when this was last logged; a new session logs what differs."""
    status: str = ""
    """One line on the last generation, for `systemctl status`."""

    def going_on(self) -> bool:
        """Whether neither a stop nor a reload was asked for, and the root is still ours."""
        return self.signals.going_on() and self.root.kept()


@dataclass(frozen=True, slots=True)
class Sleep:
    """What ends a sleep besides a notification.

    A signal, or new inputs, but for while a canary is listened for.
    """

    context: DaemonContext
    canary: Canary

    def going_on(self) -> bool:
        """Whether to sleep on."""
        news = self.context.inputs.has_news and not self.canary.flying
        return self.context.signals.going_on() and not news


def serve(context: DaemonContext, conn: Connection, state: State) -> None:
    """Work until the log is dry, then sleep; returns when asked to stop or reload, or without the root."""
    state.input_refresher = context.inputs
    doorbell = Poll() if context.config.wake == "poll" else Doorbell(conn)
    wakeup, streak = Wakeup.DUE, 0
    with Canary(conn, state, context.timing.notification_s) as canary:
        periodic = PeriodicTasks(conn, state, context.inputs, canary, context.timing)
        sleep = Sleep(context, canary)
        while context.going_on():
            context.inputs.take(state)
            generation = run_once(conn, state, context.observe)
            if generation:
                report(context, generation)
            canary.settle(wakeup)
            _notify(context, canary, wakeup)
            if periodic.run() or canary.sent_beside_writers(wakeup):
                continue
            if generation:
                doorbell.found()
                context.signals.stop.wait(coalesce_delay_s(generation.changes, streak))
            wakeup, state.parked = doorbell.wait(state.snapshot, sleep, periodic.due_in_s, canary.send)
            streak = streak + 1 if wakeup is Wakeup.CHANGES else 0


def _notify(context: DaemonContext, canary: Canary, wakeup: Wakeup) -> None:
    """Tell systemd.

    Alive while notifications arrive; ready once a canary was followed, or while writers leave no time for
    one.
    """
    if not canary.deaf:
        context.notifier.alive()
    if canary.followed or wakeup.writers_busy:
        fault = f"; {canary.fault.reason}" if canary.fault else ""
        context.notifier.tell(context.status + fault)


def coalesce_delay_s(changes: int, streak: int) -> float:
    """Return how long to let changes gather, after so many changes and so many readings without a sleep."""
    if changes >= MANY:
        return LONG_DELAY_S
    return SHORT_DELAY_S if changes > 1 and streak > 1 else 0.0


def report(context: DaemonContext, generation: Generation) -> None:
    """Log one line for each cycle that did something, and what is held back by now."""
    context.trouble.recovered()
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
        **(
            {"quarantined": {name: len(held) for name, held in generation.quarantined.items()}}
            if generation.quarantined
            else {}
        ),
    )
    for difference in differences(context.quarantine, generation.quarantined):
        say(difference)
    context.quarantine = generation.quarantined
    status = f"generation {generation.number}"
    if generation.held:
        status += f", held: {', '.join(generation.held)}"
    context.status = status
    if not context.started:
        context.started = True
        log.info("serving", root=str(context.config.root), consumer=context.config.consumer)
