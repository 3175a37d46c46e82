"""Signal handlers. SIGTERM and SIGINT request a stop; SIGHUP requests a reload."""

from __future__ import annotations

import signal

from omnicdc.stop import Stop


class SignalFlags:
    """Flags. The signal handlers only set these flags."""

    def __init__(self) -> None:
        self.stop = Stop()
        self.reload = False

    def listen(self) -> None:
        """Install the signal handlers. `run` and `run --once` call this once."""
        # A Stop object is callable; a call sets it.
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        signal.signal(signal.SIGHUP, self._reload)

    def going_on(self) -> bool:
        """Return true while neither a stop nor a reload has been requested."""
        return not (self.stop.requested or self.reload)

    def _reload(self, *_signal: object) -> None:
        self.reload = True
