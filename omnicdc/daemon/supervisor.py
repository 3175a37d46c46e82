"""Opens one session after another until the daemon is asked to stop.

`run` keeps the process alive, `session` owns a connection, `loop` serves in it, `pipeline.run_once` does a
unit of work.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from omnicdc.daemon.loop import DaemonContext, serve
from omnicdc.daemon.refresher import Refresher
from omnicdc.daemon.root import hold_root
from omnicdc.daemon.session import session
from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.errors import ConfigError, LockBusy, OmnicdcError, TransientError
from omnicdc.inputs.watches import Watches
from omnicdc.log.events import Repeating

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.config.settings import Config
    from omnicdc.daemon.signals import SignalFlags
    from omnicdc.daemon.systemd import Notifier
    from omnicdc.stop import Stop

log = structlog.get_logger()

PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
"""Between two sessions, doubling from the first to the longest until one succeeds."""

STAYS = "the configuration from before stays in force"


def run(
    load: Callable[[], Config],
    signals: SignalFlags,
    notifier: Notifier,
    observe: Callable[[str], None],
    *,
    standby: bool = False,
    timing: Timing = USUAL,
) -> None:
    """Keep the registries current until asked to stop.

    What only an operator can fix (ConfigError, SchemaMismatch, a second daemon) ends it at its start;
    once it has published, everything is retried. `standby` waits for the root and the name.
    """
    config, proven = load(), None
    trouble = Repeating("session_lost", time.monotonic)
    while not signals.stop.requested:
        signals.reload = False
        try:
            if _served(
                config,
                signals,
                notifier,
                observe,
                trouble,
                timing=timing,
                standby=standby,
                started=proven is not None,
            ):
                proven = config
        except OmnicdcError as exc:
            if proven not in (None, config):
                log.error("reload_failed", error=exc.message, hint=exc.hint or STAYS)
                config = proven
            elif proven or _is_transient(exc):
                _log_and_back_off(trouble, signals.stop, notifier, exc)
            else:
                raise
        if signals.reload:
            notifier.reloading()
            config = reloaded(load, config)
    notifier.stopping()
    log.info("stopped")


def _served(
    config: Config,
    signals: SignalFlags,
    notifier: Notifier,
    observe: Callable[[str], None],
    trouble: Repeating,
    *,
    timing: Timing,
    standby: bool,
    started: bool,
) -> bool:
    """Serve with one configuration until a stop, a reload, or another daemon's taking the root.

    Returns whether a session ever published.
    """
    with (
        hold_root(config, signals.stop, notifier.waiting, standby=standby or started) as root,
        Refresher(config, signals.stop, Watches(), timing) as inputs,
    ):
        context = DaemonContext(
            config, root, inputs, signals, notifier, observe, trouble, timing, standby, started
        )
        _run_sessions(context)
        return context.started


def _run_sessions(context: DaemonContext) -> None:
    """Open one session after another; at the start failures are raised, later on they are endured."""
    while context.going_on():
        try:
            _session(context)
        except Exception as exc:
            if not context.signals.going_on():
                return
            if not (context.started or _is_transient(exc)):
                raise
            _log_and_back_off(context.trouble, context.signals.stop, context.notifier, exc)


def _is_transient(exc: Exception) -> bool:
    """Whether waiting may fix what failed at a start."""
    return isinstance(exc, TransientError) and not isinstance(exc, LockBusy)


def _session(context: DaemonContext) -> None:
    with session(
        context.config,
        context.inputs.current,
        context.signals.stop,
        wait_for_server=True,
        wait_for_name=context.standby or context.started,
        waiting=context.notifier.waiting,
        going_on=context.signals.going_on,
        statement_timeout=context.timing.statement_timeout,
    ) as (conn, state):
        serve(context, conn, state)


def _log_and_back_off(trouble: Repeating, stop: Stop, notifier: Notifier, exc: Exception) -> None:
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


def reloaded(load: Callable[[], Config], config: Config) -> Config:
    """Read the configuration again.

    A bad one is reported and not taken, and so is a file that lost all its settings.
    """
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
