"""sd_notify: the daemon reports its state to systemd, and never waits for systemd."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from omnicdc.daemon.systemd import Notifier

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(20)
def test_a_full_socket_does_not_block_the_daemon_and_gets_its_readiness_later(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(1000):  # more than any queue takes: net.unix.max_dgram_qlen
            notifier.alive()
        notifier.tell("serving")
        manager.setblocking(False)
        received = []
        with suppress(BlockingIOError):
            while True:
                received.append(manager.recv(100))

        notifier.tell("serving")

        assert {*received} == {b"WATCHDOG=1"}
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"
