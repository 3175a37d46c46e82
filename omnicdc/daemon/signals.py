"""What signals ask for: SIGTERM and SIGINT a stop, SIGHUP a reload."""

from __future__ import annotations

import signal

from omnicdc.stop import Stop


class SignalFlags:
    """Flags that the handlers set; they do nothing else."""

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
