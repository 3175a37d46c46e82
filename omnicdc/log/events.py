"""Formats log events: JSON lines on a pipe, readable lines on a terminal. A log event never shows a password.

All modules log through `structlog.get_logger()`. The command calls `configure` once.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast
from weakref import WeakKeyDictionary

import structlog
from structlog.processors import ExceptionRenderer, TimeStamper, format_exc_info
from structlog.tracebacks import ExceptionDictTransformer

from omnicdc.log.journal import SOCKET, Journal, fields_of
from omnicdc.log.scrub import HIDDEN, scrubbed
from omnicdc.log.sink import CAPACITY, Sink, has_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from structlog.typing import EventDict, Processor, WrappedLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""The severities of syslog(3)."""

FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 3600.0
"""Seconds between two log lines about the same failure. The time doubles from the first to the longest."""

MOST_CAUSES = 20
"""The largest number of different causes of one failure that are logged without delay."""


def configure(
    level: str = "info",
    stream: TextIO | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    capacity: int = CAPACITY,
    journal: Path = SOCKET,
) -> None:
    """Send events of `level` and above to `stream` (default: stderr). A repeat replaces the earlier call.

    Python's warnings, and log records of libraries from WARNING on, become events too. A reader that does not
    read delays nothing: up to `capacity` bytes wait for it (see `sink`). If `stream` is connected to
    systemd's journal, events are sent to the socket `journal` instead, with their severity and fields.
    """
    stream = stream or sys.stderr
    environ = os.environ if environ is None else environ
    rendering = _for_terminal(environ) if stream.isatty() else _for_pipe(environ, stream, journal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _output(stream, rendering, capacity))),
    )
    _forward_libraries()


def write_error(text: str, *, environ: Mapping[str, str] | None = None) -> None:
    """Write the final error message of a command to stderr, without passwords.

    A reader that does not read does not delay this.
    """
    environ = os.environ if environ is None else environ
    severity = f"<{PRIORITIES['error']}>" if in_journal(environ, sys.stderr) else ""
    output = _output(sys.stderr, _for_pipe(environ, sys.stderr))
    for line in scrubbed(text).splitlines():
        output.write(f"{severity}omnicdc: {line}\n")
    output.flush()


def drain() -> None:
    """Wait until all lines so far are written, for at most two seconds per stream."""
    for sink in list(_SINKS.values()):
        sink.drain()


def in_journal(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Whether `stream` is connected to systemd's journal: see systemd.exec(5), JOURNAL_STREAM."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _for_pipe(environ: Mapping[str, str], stream: TextIO, journal: Path = SOCKET) -> list[Processor]:
    traceback = ExceptionDictTransformer(show_locals=False)  # a local variable may hold a password
    return [
        TimeStamper(fmt="iso", utc=True),
        ExceptionRenderer(traceback),
        _scrub,
        _ForJournal(Journal(journal))
        if in_journal(environ, stream)
        else structlog.processors.JSONRenderer(json.dumps),
    ]


class _ForJournal:
    """Sends the event to the journal.

    If the journal does not take it, this returns the event as JSON after a severity prefix, which journald
    removes: sd-daemon(3). Then the line is written to the stream, which can hold more.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._render = structlog.processors.JSONRenderer(json.dumps)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = PRIORITIES.get(str(event.get("level")), PRIORITIES["info"])
        line = str(self._render(logger, method, event))
        if self._journal.send(fields_of(event, line, priority)):
            raise structlog.DropEvent
        return f"<{priority}>{line}"


def _for_terminal(environ: Mapping[str, str]) -> list[Processor]:
    plain = structlog.dev.plain_traceback
    colors = not environ.get("NO_COLOR")
    return [
        TimeStamper(fmt="%H:%M:%S", utc=False),
        format_exc_info,  # before _scrub, and without local variables
        _scrub,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain),
    ]


_SINKS: WeakKeyDictionary[TextIO, Sink] = WeakKeyDictionary()
"""One sink for each stream, so that lines stay in order."""


def _output(stream: TextIO, rendering: Sequence[Processor], capacity: int = CAPACITY) -> Sink | _Unfailing:
    """Return the object that writes lines to `stream`: a Sink if a slow reader could block the writer."""
    if not has_reader(stream):
        return _Unfailing(stream)
    sink = _SINKS.get(stream)
    if sink is None:
        try:
            sink = _SINKS[stream] = Sink(stream, partial(_dropped_line, rendering), capacity)
        except RuntimeError:  # no thread can be started
            return _Unfailing(stream)
    return sink


def _dropped_line(rendering: Sequence[Processor], count: int) -> str:
    """Return the log line that says how many lines were dropped, rendered by `rendering`."""
    event: Any = {"event": "log_lines_dropped", "level": "warning", "count": count}
    with suppress(structlog.DropEvent):  # the journal has it already
        for processor in rendering:
            event = processor(None, "warning", event)
        return f"{event}\n"
    return ""


class _Unfailing:
    """Writes to `stream` and ignores errors: a full disk or a closed pipe must not end the program's work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


_SECRET_KEY = re.compile(r"passw(or)?d", re.IGNORECASE)


def _scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Scrub every value, the traceback included, and move timestamp, level and event to the front."""
    first = {key: event[key] for key in ("timestamp", "level", "event") if key in event}
    return {key: _plain(key, value) for key, value in (first | dict(event)).items()}


def _plain(key: str, value: object) -> object:
    """Return a value as JSON types, scrubbed. The value of a key that names a password is hidden."""
    if _SECRET_KEY.search(key):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {scrubbed(str(inner)): _plain(str(inner), it) for inner, it in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(key, it) for it in value]
    return scrubbed(str(value))


class _Forward(logging.Handler):
    """Turns log records of libraries into log events."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("library", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)


def _forward_libraries() -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Forward)]:
        root.removeHandler(handler)
    root.addHandler(_Forward(logging.WARNING))
    logging.captureWarnings(capture=True)


class Repeating:
    """Logs one failure that may last for hours: at once, then after 1, 2, 4 ... minutes, then hourly.

    A new cause is also logged at once. `clock` returns seconds that never go back, such as `time.monotonic`.
    """

    def __init__(self, event: str, clock: Callable[[], float]) -> None:
        self.count = 0
        self._event = event
        self._clock = clock
        self._began = self._due = 0.0
        self._pause = FIRST_PAUSE_S
        self._causes: set[str] = set()

    def failed(self, cause: str = "", /, **keys: object) -> None:
        """Count a failure, and log it as a warning if a warning is due.

        A warning is also due if this cause was not logged since the first failure. Two causes that differ
        only in numbers (addresses, process ids, seconds) count as the same cause.
        """
        now, cause = self._clock(), re.sub(r"\d+", "#", cause)
        if not self.count:
            self._began = now
            self._causes.clear()
        if cause not in self._causes and len(self._causes) < MOST_CAUSES:
            self._due = now
            self._pause = FIRST_PAUSE_S
            self._causes.add(cause)
        self.count += 1
        if now < self._due:
            return
        structlog.get_logger().warning(self._event, **{**keys, "count": self.count})
        self._due = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE_S)

    def recovered(self, **keys: object) -> None:
        """Log the end of the failure once. Does nothing if there was no failure."""
        if not self.count:
            return
        lasted = round(self._clock() - self._began, 3)
        structlog.get_logger().info(
            "recovered", failure=self._event, count=self.count, lasted_s=lasted, **keys
        )
        self.count = 0
