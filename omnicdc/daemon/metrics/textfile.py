"""Keeps a file of metrics for node_exporter's textfile collector, in a thread of its own."""

from __future__ import annotations

import errno
import shlex
import threading
import time
from typing import TYPE_CHECKING

from omnicdc.daemon.metrics.samples import exposition
from omnicdc.errors import RegistryError
from omnicdc.filesystem.atomic import stage
from omnicdc.filesystem.remedy import user_name
from omnicdc.log.events import Repeating
from omnicdc.model import HEARTBEAT_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from omnicdc.daemon.metrics.facts import Facts

MODE = 0o644
"""node_exporter runs as another user."""

SHORTEST_S = 2.0
"""The shortest time between two writes of the file, in seconds."""

LEAVE_S = 0.5
"""Seconds that the end of the daemon waits for the last write: the disk may hang."""


def write_textfile(path: Path, facts: Facts) -> None:
    """Replace the file atomically. Raises RegistryError. A repeat is harmless."""
    with stage(path.parent, path.name, [exposition(facts)], mode=MODE) as staged:
        staged.swap()
        staged.sync()


class Textfile:
    """Writes the file after each publication and at least once a minute, also while CMP cannot be reached.

    A directory that cannot be written is a fault, and is tried again at the next write.
    """

    def __init__(self, path: Path, facts: Callable[[], Facts], shortest_s: float = SHORTEST_S) -> None:
        self.path = path
        self.fault = ""
        """Why the file cannot be written; empty if it can. Any thread may read it."""
        self._facts = facts
        self._shortest_s = shortest_s
        self._failing = Repeating("textfile_not_written", time.monotonic)
        self._changed = threading.Condition()
        self._due = True
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="textfile", daemon=True)

    def start(self) -> Self:
        """Start the thread. It writes the file at once."""
        self._thread.start()
        return self

    def request(self) -> None:
        """Request a write. This returns at once."""
        with self._changed:
            self._due = True
            self._changed.notify_all()

    def end(self, *, remove: bool) -> None:
        """Write the file for the last time, or remove it, so that no old values stay behind."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(LEAVE_S)
        if remove:
            self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        ended = False
        while not ended:
            with self._changed:
                ended = self._changed.wait_for(lambda: self._ended or self._due, HEARTBEAT_S) and self._ended
                self._due = False
            self.write()
            with self._changed:
                self._changed.wait_for(lambda: self._ended, self._shortest_s)

    def write(self) -> None:
        """Write the file now. A failure is logged, and is a fault until a write succeeds."""
        try:
            write_textfile(self.path, self._facts())
        except RegistryError as exc:
            self.fault = f"metrics_textfile: {exc.message} - {_hint(self.path, exc)}"
            self._failing.failed(exc.message, error=exc.message, hint=_hint(self.path, exc))
        else:
            self.fault = ""
            self._failing.recovered()


def _hint(path: Path, error: RegistryError) -> str:
    directory = shlex.quote(str(path.parent))
    if error.context.get("errno") in (errno.ENOENT, errno.ENOTDIR):
        return f"`mkdir -p {directory} && chown {user_name()} {directory}`"
    if error.context.get("errno") == errno.EROFS:
        return f"`systemctl edit omnicdc`: ReadWritePaths={path.parent} (docs/monitoring.md)"
    return error.hint
