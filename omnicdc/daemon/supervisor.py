"""Opens one session after another until a stop is requested.

`run` is the daemon's main function. The module `session` opens the connection, `loop` serves in it, and
`pipeline.run_once` does one cycle.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from omnicdc.capture.reading_limit import reading_idle_s
from omnicdc.daemon.hooks import Hooks
from omnicdc.daemon.keeper import Keeper
from omnicdc.daemon.loop import DaemonContext, serve
from omnicdc.daemon.monitoring import Monitoring
from omnicdc.daemon.refresher import Refresher
from omnicdc.daemon.reload import ReloadReport
from omnicdc.daemon.root import hold_root
from omnicdc.daemon.session import session
from omnicdc.daemon.timing import USUAL, Timing
from omnicdc.errors import ConfigError, LockBusy, OmnicdcError, SchemaMismatch, TransientError
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
"""Seconds between two sessions after failures: first twice PAUSE_S, then doubling up to LONGEST_PAUSE_S."""

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
    """Keep the registries current until a stop is requested.

    Before the first publication, an error that only an operator can fix is raised: ConfigError,
    SchemaMismatch, or LockBusy for a second daemon. After the first publication, every failure is retried.
    With `standby`, this waits while another daemon holds the root or the name. `observe` is called with each
    step of a cycle.
    """
    with Monitoring(notifier) as monitoring:
        _run(load, signals, notifier, monitoring, observe, standby=standby, timing=timing)
    notifier.stopping()
    log.info("stopped")


def _run(
    load: Callable[[], Config],
    signals: SignalFlags,
    notifier: Notifier,
    monitoring: Monitoring,
    observe: Callable[[str], None],
    *,
    standby: bool,
    timing: Timing,
) -> None:
    config, published_config = load(), None
    failures, report = Repeating("session_lost", time.monotonic), ReloadReport()
    report.started(config.state_dir)
    while not signals.stop.requested:
        signals.reload = False
        try:
            if _served(
                config,
                signals,
                notifier,
                observe,
                failures,
                report=report,
                monitoring=monitoring,
                timing=timing,
                standby=standby,
                started=published_config is not None,
                can_return=published_config not in (None, config),
            ):
                published_config = config
        except OmnicdcError as exc:
            if published_config not in (None, config):
                log.error("reload_failed", error=exc.message, hint=exc.hint or STAYS)
                report.refused(exc.message, exc.hint)
                config = published_config
            elif published_config or _is_transient(exc):
                report.delayed(exc.message, exc.hint)
                _log_and_back_off(failures, signals.stop, notifier, exc)
            else:
                raise
        if signals.reload:
            notifier.reloading()
            report.begin(config.state_dir)
            config = reloaded(load, config, report)


def _served(
    config: Config,
    signals: SignalFlags,
    notifier: Notifier,
    observe: Callable[[str], None],
    failures: Repeating,
    *,
    report: ReloadReport,
    monitoring: Monitoring,
    timing: Timing,
    standby: bool,
    started: bool,
    can_return: bool,
) -> bool:
    """Serve with one configuration until a stop or a reload is requested, or the lock on the root is lost.

    Returns whether a session has published, in this call or, with `started`, before it.
    """
    monitoring.apply(config)
    with (
        hold_root(config, signals.stop, notifier.waiting, standby=standby or started) as root,
        Refresher(config, signals.stop, Watches(), timing) as inputs,
        Hooks(config) as hooks,
        Keeper(config, observe) as keeper,
    ):
        context = DaemonContext(
            config=config,
            root=root,
            inputs=inputs,
            hooks=hooks,
            keeper=keeper,
            signals=signals,
            notifier=notifier,
            observe=observe,
            failures=failures,
            reload=report,
            monitoring=monitoring,
            timing=timing,
            standby=standby,
            started=started,
            can_return=can_return,
        )
        _run_sessions(context)
        return context.started


def _run_sessions(context: DaemonContext) -> None:
    """Open one session after another.

    Before the first publication, a failure that waiting cannot fix is raised. So is such a failure with a
    configuration that was read again and has published nothing yet. Every other failure is logged, and the
    next session is opened after a pause.
    """
    while context.going_on():
        try:
            _session(context)
        except Exception as exc:
            if not context.signals.going_on():
                return
            if not (context.started or _is_transient(exc)):
                raise
            if context.may_return() and isinstance(exc, ConfigError | SchemaMismatch):
                raise  # the configuration from before goes on
            if isinstance(exc, OmnicdcError):
                context.reload.delayed(exc.message, exc.hint)
            _log_and_back_off(context.failures, context.signals.stop, context.notifier, exc)


def _is_transient(exc: Exception) -> bool:
    """Whether waiting may fix a failure before the first publication."""
    return isinstance(exc, TransientError) and not isinstance(exc, LockBusy)


def _session(context: DaemonContext) -> None:
    with session(
        context.config,
        context.inputs.current,
        context.signals.stop,
        wait_for_server=True,
        wait_for_name=context.standby or context.started,
        waiting=context.notifier.waiting,
        unreachable=lambda exc: context.reload.delayed(exc.message, exc.hint),
        going_on=context.signals.going_on,
        statement_timeout=context.timing.statement_timeout,
        idle_s=reading_idle_s(context.timing.reading_idle_s, context.failures.count),
    ) as (conn, state):
        serve(context, conn, state)


def _log_and_back_off(failures: Repeating, stop: Stop, notifier: Notifier, exc: Exception) -> None:
    """Log the failure, report it to systemd, and wait. The next session begins with a full scan."""
    if isinstance(exc, OmnicdcError):
        advice = exc.advice(retrying=True)
        failures.failed(exc.message, error=exc.message, hint=advice, **exc.context)
        notifier.degraded(f"{exc.message} - {advice}" if advice else exc.message)
    else:
        failures.failed(
            f"{type(exc)}: {exc}", error=f"{type(exc).__name__}: {exc}", hint="please report it", exc_info=exc
        )
        notifier.degraded(str(exc))
    stop.wait(min(PAUSE_S * 2 ** min(failures.count, 10), LONGEST_PAUSE_S))


def reloaded(load: Callable[[], Config], config: Config, report: ReloadReport) -> Config:
    """Read the configuration again, and return the one to use from now on.

    An invalid configuration is logged, and `config` is returned. A configuration file that has lost all its
    settings counts as invalid.
    """
    try:
        fresh = load()
        fresh.require_root()
        if config.file_settings and not fresh.file_settings:
            raise ConfigError("the configuration file holds no settings any more")
    except OmnicdcError as exc:
        log.error("reload_failed", error=exc.message, hint=STAYS)
        report.refused(exc.message, exc.hint)
        return config
    report.starting(fresh.state_dir)
    log.info("reloaded")
    return fresh
