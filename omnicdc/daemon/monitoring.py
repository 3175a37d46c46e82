"""Everything through which the daemon can be observed from outside: metrics, health and traces.

The loop tells this one object what happened. What is off costs nothing: it is not even imported.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from omnicdc import db
from omnicdc.daemon.metrics.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from omnicdc.config.settings import Config
    from omnicdc.daemon.metrics.endpoint import Endpoint
    from omnicdc.daemon.metrics.meter import Session
    from omnicdc.daemon.metrics.textfile import Textfile
    from omnicdc.daemon.spans import Spans
    from omnicdc.daemon.systemd import Notifier
    from omnicdc.model import Generation
    from omnicdc.state import State


log = structlog.get_logger()

INSTALL_EXTRA = "`pip install 'omnicdc[otel]'` in the environment of the daemon, or set `otel: off`"


def show_once(path: Path, meter: Meter, conn: db.Connection, session: Session) -> None:
    """Write the textfile at the end of a run that publishes once. A failure is logged.

    Raises DatabaseUnavailable.
    """
    from omnicdc.daemon.metrics.textfile import Textfile  # noqa: PLC0415 - only where it is on

    with meter.session(session, reconnected=False):
        meter.log_rows = _log_rows(conn)
        Textfile(path, meter.facts).write()


class Monitoring:
    """What a process of the daemon shows of itself. It outlasts sessions and reloads.

    A context manager: at its end it stops listening, and writes the textfile for the last time.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._max_lag_s = 0.0
        self._meter: Meter | None = None
        self._endpoint: Endpoint | None = None
        self._textfile: Textfile | None = None
        self._spans: Spans | None = None
        self._spans_fault = ""

    def apply(self, config: Config) -> None:
        """Start and stop what a configuration says. What it does not change goes on."""
        self._max_lag_s = config.max_lag_s
        if not (config.metrics or config.metrics_textfile):
            self._meter = None
        else:
            self._meter = self._meter or Meter(lambda: self._notifier.alive_at, "")
            self._meter.consumer = config.consumer
        self._apply_address(config)
        self._apply_textfile(config)
        self._apply_spans(config)

    def faults(self) -> tuple[str, ...]:
        """Return a line for each part that does not work."""
        parts = (self._endpoint, self._textfile)
        return tuple(filter(None, [*(part.fault for part in parts if part), self._spans_fault]))

    @contextmanager
    def session(self, conn: db.Connection, session: Session, failures: int) -> Iterator[None]:
        """Observe a session during the `with` block. `failures`: how many sessions were lost before it.

        Raises DatabaseUnavailable.
        """
        if self._meter is None:
            yield
            return
        session.state.counts_transactions = True
        with self._meter.session(session, reconnected=failures > 0):
            self.heartbeat(conn)
            yield

    def cycle_ended(self, began_at: float, generation: Generation | None, state: State) -> None:
        """Take what a cycle did. It began at `began_at`, by `time.monotonic`."""
        if self._meter:
            self._meter.cycle_ended(began_at, generation, state)
        if self._textfile and generation:
            self._textfile.request()
        if self._spans and generation:
            self._spans.published(generation)

    def heartbeat(self, conn: db.Connection) -> None:
        """Count the rows of the log. Called once a minute. Raises DatabaseUnavailable."""
        if self._meter:
            self._meter.log_rows = _log_rows(conn)
        if self._textfile:
            self._textfile.request()

    def __enter__(self) -> Self:
        """Return the object itself. Nothing is on before `apply`."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop everything."""
        if self._endpoint:
            self._endpoint.end()
        if self._textfile:
            self._textfile.end(remove=False)
        if self._spans:
            self._spans.end()

    def _apply_address(self, config: Config) -> None:
        if self._endpoint and self._endpoint.address != config.metrics:
            self._endpoint.end()
            self._endpoint = None
        if config.metrics and self._endpoint is None and self._meter:
            from omnicdc.daemon.metrics.endpoint import Endpoint  # noqa: PLC0415 - only where it is on
            from omnicdc.daemon.metrics.pages import pages  # noqa: PLC0415

            application = pages(self._meter.facts, lambda: self._max_lag_s)
            self._endpoint = Endpoint(config.metrics, application).start()

    def _apply_textfile(self, config: Config) -> None:
        if self._textfile and self._textfile.path != config.metrics_textfile:
            self._textfile.end(remove=True)
            self._textfile = None
        if config.metrics_textfile and self._textfile is None and self._meter:
            from omnicdc.daemon.metrics.textfile import Textfile  # noqa: PLC0415 - only where it is on

            self._textfile = Textfile(config.metrics_textfile, self._meter.facts).start()

    def _apply_spans(self, config: Config) -> None:
        self._spans_fault = ""
        if self._spans and (config.otel == "off" or self._spans.consumer != config.consumer):
            self._spans.end()
            self._spans = None
        if config.otel != "off" and self._spans is None:
            try:
                from omnicdc.daemon.spans import Spans  # noqa: PLC0415 - only where it is on
            except ImportError as exc:
                if config.otel == "on":
                    self._spans_fault = f"otel: {exc} - {INSTALL_EXTRA}"
                    log.warning("spans_not_sent", error=str(exc), hint=INSTALL_EXTRA)
                return
            self._spans = Spans(config.consumer)


def _log_rows(conn: db.Connection) -> int:
    with db.translated("counting the log"):
        return int(db.fetch_one(conn, "log_size")["changes"])
