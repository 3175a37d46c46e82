"""A daemon that checks its files often, and a CMP whose projects are updated."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.file_damage import open_regular
from support.host import Daemon, Host, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.numbered_updates import NumberedUpdates


@dataclass
class Scene:
    """A CMP, its registry host with a running daemon, and numbered updates."""

    cmp: Cmp
    host: Host
    updates: NumberedUpdates
    daemon: Daemon

    def kept(self) -> set[bytes]:
        """Return the contents of all backups. The daemon may delete the oldest meanwhile."""
        kept: set[bytes] = set()
        for copy in (self.host.state / "drift").glob("*Z"):
            with suppress(OSError), open(copy, "rb", opener=open_regular) as file:
                kept.add(file.read())
        return kept

    def alive(self) -> None:
        assert self.daemon.process.poll() is None, self.daemon.noise
        assert not [event for event in self.daemon.events if event["event"] == "session_lost"]

    def goes_on(self) -> None:
        """Assert that one more update is published, and that the files are then correct."""
        self.cmp.arrived(self.updates.next())
        until(self.updates.right, "the files show the latest update")
        self.alive()


@contextmanager
def stream(updates: NumberedUpdates, pause_s: float = 0.01) -> Iterator[None]:
    """Commit one update after another during the `with` block."""
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
