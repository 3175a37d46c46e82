"""The daemon: opens one session after another until it is asked to stop; signals are its business.

`run` survives, `_serve` owns a connection, `pipeline.run_once` does a unit of work.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from omnicdc.capture.reader import Doorbell
from omnicdc.daemon.canary import Canary
from omnicdc.daemon.periodic import Housekeeping
from omnicdc.daemon.refresher import Refresher
from omnicdc.daemon.session import session
from omnicdc.delivery.quarantine import differences, say
from omnicdc.delivery.retention import Retention
from omnicdc.errors import ConfigError, LockBusy, OmnicdcError, TransientError
from omnicdc.files.lock import RootLock
from omnicdc.log.events import Repeating
from omnicdc.pipeline import run_once
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.daemon.systemd import Notifier
    from omnicdc.db import Connection
    from omnicdc.model import Generation
    from omnicdc.state import State

log = structlog.get_logger()


MANY = 16
REST_S = 0.1
SHORT_REST_S = 0.01
"""Under a stream of writes the next changes may gather for so long: after a batch of many, or shortly if several come
while there is always something to read. The writers get the disk and the processors meanwhile, and seldom ring. Who
writes one project, waits and writes the next never meets it, however quick."""

PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
"""Between two sessions, doubling from the first to the longest until one succeeds."""


PRUNING_S = 5.0
"""How long `run --once` may prune at most."""

STAYS = "the configuration from before stays in force"


class Wishes:
    """What signals ask for: SIGTERM and SIGINT a stop, SIGHUP a reload. Handlers set flags and nothing else."""

    def __init__(self) -> None:
        self.stop = Stop()
        self.reload = False

    def listen(self) -> None:
        """Take the process's signals; called once, by the command."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        signal.signal(signal.SIGHUP, self._reload)

    def going_on(self) -> bool:
        """Whether neither was asked for."""
        return not (self.stop.requested or self.reload)

    def _reload(self, *_signal: object) -> None:
        self.reload = True


@dataclass(slots=True)
class Serving:
    """What lasts longer than a session, and shorter than the process: until a reload."""

    config: Config
    root: RootLock
    inputs: Refresher
    wishes: Wishes
    notifier: Notifier
    observe: Callable[[str], None]
    trouble: Repeating
    """What is endured, until a session publishes."""
    standby: bool
    started: bool = False
    """Whether a session of this process has published: from then on, every failure is endured."""
    quarantine: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What was held back when this was last logged; a new session logs what differs."""
    status: str = ""
    """One line on the last generation, for `systemctl status`."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """What ends a sleep besides the bell: a signal, or new inputs, but for while a canary is listened for."""

    serving: Serving
    canary: Canary

    def going_on(self) -> bool:
        """Whether to sleep on."""
        news = self.serving.inputs.has_news and not self.canary.out
        return self.serving.wishes.going_on() and not news


def run(
    load: Callable[[], Config],
    wishes: Wishes,
    notifier: Notifier,
    observe: Callable[[str], None],
    *,
    standby: bool = False,
) -> None:
    """Keep the registries current until asked to stop.

    What only a person can mend (ConfigError, SchemaMismatch, a second daemon) ends it at its start;
    once it has published, everything is retried. `standby` waits for the root and the name.
    """
    config, proven = load(), None
    trouble = Repeating("session_lost", time.monotonic)
    while not wishes.stop.requested:
        wishes.reload = False
        try:
            if _served(
                config, wishes, notifier, observe, trouble, standby=standby, started=proven is not None
            ):
                proven = config
        except OmnicdcError as exc:
            if proven not in (None, config):
                log.error("reload_failed", error=exc.message, hint=exc.hint or STAYS)
                config = proven
            elif proven or _passes(exc):
                _endure(trouble, wishes.stop, notifier, exc)
            else:
                raise
        if wishes.reload:
            notifier.reloading()
            config = reloaded(load, config)
    notifier.stopping()
    log.info("stopped")


def _served(
    config: Config,
    wishes: Wishes,
    notifier: Notifier,
    observe: Callable[[str], None],
    trouble: Repeating,
    *,
    standby: bool,
    started: bool,
) -> bool:
    """Serve with one configuration until a stop, a reload, or another daemon's taking the root.

    Returns whether a session ever published.
    """
    with (
        _root(config, wishes.stop, notifier.waiting, standby=standby or started) as root,
        Refresher(config, wishes.stop) as inputs,
    ):
        serving = Serving(config, root, inputs, wishes, notifier, observe, trouble, standby, started)
        _survive(serving)
        return serving.started


def run_to_the_end(
    config: Config, stop: Stop, observe: Callable[[str], None]
) -> tuple[Generation | None, State]:
    """Bring every registry up to date once, for cron. Whatever fails is raised."""
    with _root(config, stop, lambda _for: None, standby=False), Refresher(config, stop) as inputs:
        inputs.wait_for_workspaces()
        with session(config, inputs.current, stop, wait_for_server=False, wait_for_name=False) as (
            conn,
            state,
        ):
            state.daemon = False
            state.looker = inputs
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


def _survive(serving: Serving) -> None:
    """Open one session after another; at the start failures are raised, later on they are endured."""
    while serving.wishes.going_on() and serving.root.kept():
        try:
            _session(serving)
        except Exception as exc:
            if not serving.wishes.going_on():
                return
            if not (serving.started or _passes(exc)):
                raise
            _endure(serving.trouble, serving.wishes.stop, serving.notifier, exc)


def _passes(exc: Exception) -> bool:
    """Whether waiting may mend what failed at a start."""
    return isinstance(exc, TransientError) and not isinstance(exc, LockBusy)


def _session(serving: Serving) -> None:
    with session(
        serving.config,
        serving.inputs.current,
        serving.wishes.stop,
        wait_for_server=True,
        wait_for_name=serving.standby or serving.started,
        waiting=serving.notifier.waiting,
        going_on=serving.wishes.going_on,
    ) as (conn, state):
        _serve(serving, conn, state)


def _endure(trouble: Repeating, stop: Stop, notifier: Notifier, exc: Exception) -> None:
    """Say what failed, and wait before the next session, which starts from nothing known."""
    if isinstance(exc, OmnicdcError):
        advice = exc.advice(retrying=True)
        trouble.failed(exc.message, error=exc.message, hint=advice, **exc.context)
        notifier.tell(f"degraded: {exc.message} - {advice}" if advice else f"degraded: {exc.message}")
    else:
        trouble.failed(
            f"{type(exc)}: {exc}", error=f"{type(exc).__name__}: {exc}", hint="please report it", exc_info=exc
        )
        notifier.tell(f"degraded: {exc}")
    notifier.alive()
    stop.wait(min(PAUSE_S * 2 ** min(trouble.count, 10), LONGEST_PAUSE_S))


def _serve(serving: Serving, conn: Connection, state: State) -> None:
    """Work until the log is dry, then sleep until it rings; returns when asked to stop or reload, or without the root."""
    state.looker = serving.inputs
    doorbell = None if serving.config.wake == "poll" else Doorbell(conn)
    streak = 0
    with Canary(conn, state) as canary:
        housekeeping = Housekeeping(conn, state, serving.inputs, canary)
        while serving.wishes.going_on() and serving.root.kept():
            serving.inputs.take(state)
            generation = run_once(conn, state, serving.observe)
            if generation:
                _tell(serving, generation)
            busy = doorbell is not None and not doorbell.calm
            canary.settle(rung=doorbell is None or doorbell.rung, busy=busy)
            _notify(serving, canary, busy=busy)
            if housekeeping.run():
                continue
            if busy and canary.anytime:
                canary.release()
                continue
            if doorbell is None:
                canary.release()
                serving.wishes.stop.wait(0 if generation or canary.out else housekeeping.due_in_s)
                continue
            if generation:
                doorbell.found()
                serving.wishes.stop.wait(rest_s(generation.changes, streak))
            state.parked = doorbell.wait(
                state.snapshot, Sleep(serving, canary), housekeeping.due_in_s, canary.release
            )
            streak = 0 if doorbell.slept else streak + 1


def _notify(serving: Serving, canary: Canary, *, busy: bool) -> None:
    """Tell systemd how we are: ready once a canary was followed, or while writers leave no time for one; alive while we hear."""
    if not canary.deaf:
        serving.notifier.alive()
    if canary.tried or busy:
        fault = f"; {canary.fault.reason}" if canary.fault else ""
        serving.notifier.tell(serving.status + fault)


def rest_s(changes: int, streak: int) -> float:
    """Return how long to let changes gather, after so many of them, and readings without a sleep between them."""
    if changes >= MANY:
        return REST_S
    return SHORT_REST_S if changes > 1 and streak > 1 else 0.0


def _tell(serving: Serving, generation: Generation) -> None:
    """One line for each cycle that did something."""
    serving.trouble.recovered()
    log.info(
        "published" if generation.registries else "looked",
        generation=generation.number,
        changes=generation.changes,
        projects=generation.projects if generation.projects is not None else "all",
        scanners=generation.scanners,
        registries=generation.registries,
        ms={stage: round(ms, 2) for stage, ms in generation.stages.items()},
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
    for difference in differences(serving.quarantine, generation.quarantined):
        say(difference)
    serving.quarantine = generation.quarantined
    status = f"generation {generation.number}"
    if generation.held:
        status += f", held: {', '.join(generation.held)}"
    serving.status = status
    if not serving.started:
        serving.started = True
        log.info("serving", root=str(serving.config.root), consumer=serving.config.consumer)


@contextmanager
def _root(config: Config, stop: Stop, waiting: Callable[[str], None], *, standby: bool) -> Iterator[RootLock]:
    """Hold the lock on the root; a stand-by waits for it, and everybody for a full disk."""
    busy = Repeating("standing_by", time.monotonic)
    lock = RootLock(config.require_root())
    with ExitStack() as held:
        while not stop.requested:
            try:
                held.enter_context(lock)
                break
            except TransientError as exc:
                if isinstance(exc, LockBusy) and not standby:
                    raise
                busy.failed(exc.message, error=exc.message, hint=exc.advice(retrying=True))
                waiting(f"the root {config.root}")
                stop.wait(PAUSE_S)
        busy.recovered()
        yield lock


def reloaded(load: Callable[[], Config], config: Config) -> Config:
    """Read the configuration again; a bad one is reported and not taken, and so is a file that lost all its settings."""
    try:
        fresh = load()
        fresh.require_root()
        if config.file_settings and not fresh.file_settings:
            raise ConfigError("the configuration file holds no settings any more")
    except OmnicdcError as exc:
        log.error("reload_failed", error=exc.message, hint=STAYS)
        return config
    log.info("reloaded")
    return fresh
