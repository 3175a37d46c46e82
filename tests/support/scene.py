"""A daemon that looks often at its files, and a CMP whose projects change in updates."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.file_damage import own
from support.host import Daemon, Host, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.numbered_updates import NumberedUpdates


@dataclass
class Scene:
    """A daemon that looks often, and updates of changes."""

    cmp: Cmp
    host: Host
    updates: NumberedUpdates
    daemon: Daemon

    def kept(self) -> set[bytes]:
        """Return the texts that were kept aside; the oldest may go while this looks."""
        kept: set[bytes] = set()
        for copy in (self.host.state / "drift").glob("*Z"):
            with suppress(OSError), open(copy, "rb", opener=own) as file:
                kept.add(file.read())
        return kept

    def alive(self) -> None:
        assert self.daemon.process.poll() is None, self.daemon.noise
        assert not [event for event in self.daemon.events if event["event"] == "session_lost"]

    def goes_on(self) -> None:
        """One more update arrives, and all is right."""
        self.cmp.arrived(self.updates.next())
        until(self.updates.right, "right")
        self.alive()


@contextmanager
def stream(updates: NumberedUpdates, pause_s: float = 0.01) -> Iterator[None]:
    """Have CMP change all the time."""
    done = threading.Event()

    def write() -> None:
        while not done.wait(pause_s):
            updates.next()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
