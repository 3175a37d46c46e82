"""The environment of the measurements: a PostgreSQL with fsync, a CMP of N projects, and registry hosts."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql as pgsql
from support import sources
from support.cmp import TABLE, Cmp
from support.host import COMMAND, REGISTRIES, Host, until

from omnicdc import db
from omnicdc.capture import install
from omnicdc.testing.embedded import EmbeddedServer, bundled

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_S = 60.0


class Ground:
    """One server for a whole run, and a directory. `estate` makes databases."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="omnicdc-bench-"))
        self.directory.chmod(0o711)
        self.server = EmbeddedServer(self.directory / "server", {"fsync": "on", **(settings or {})})
        self.server.create()
        self.server.start()

    @contextmanager
    def estate(self, name: str, projects: int, *, captured: bool = True) -> Iterator[Estate]:
        """Give a CMP of ordinary projects, with a directory for its registry hosts."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
            admin.execute(pgsql.SQL("create database {}").format(pgsql.Identifier(name)))
        dsn = self.server.dsn(name)
        with Cmp(dsn) as cmp:
            cmp.conn.execute(TABLE)
            cmp.fill(projects)
            if captured:
                with db.connect(dsn) as conn:
                    install.install(conn, sources.projects())
            cmp.conn.execute("vacuum analyze")
            yield Estate(cmp, self.directory / name)
        with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
            admin.execute(pgsql.SQL("drop database {} with (force)").format(pgsql.Identifier(name)))
        shutil.rmtree(self.directory / name, ignore_errors=True)

    def program(self, name: str) -> str:
        """Return the path of one of PostgreSQL's programs."""
        return str(bundled() / name)

    def close(self) -> None:
        """End the server and remove everything."""
        self.server.delete()
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Estate:
    """A CMP, and the directory that holds its registry hosts."""

    cmp: Cmp
    directory: Path

    def host(self, name: str = "bench") -> Host:
        """Return a registry host with default settings. `name` is also the name of its consumer."""
        host = Host(self.directory / name, self.cmp.dsn)
        del host.env["OMNICDC_POLL_S"]
        return host

    @contextmanager
    def daemon(self, host: Host) -> Iterator[Running]:
        """Run the daemon; the block begins after READY=1."""
        running = Running(host)
        try:
            running.wait_until_ready()
            yield running
        finally:
            running.stop()


class Running:
    """`omnicdc run` as systemd runs it: it sends READY=1 to a socket, and its log is a file."""

    def __init__(self, host: Host) -> None:
        self.log = host.root.parent / "log"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = str(host.root.parent / "notify")
        Path(address).unlink(missing_ok=True)
        self._socket.bind(address)
        self._ready_at: float | None = None
        threading.Thread(target=self._listen, daemon=True).start()
        self.began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [COMMAND, "run"], env=host.env | {"NOTIFY_SOCKET": address}, stderr=log, stdout=log
            )

    def wait_until_ready(self) -> float:
        """Return the seconds from the start until everything is published."""
        deadline = self.began + READY_S
        while self._ready_at is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.002)
        return self._ready_at - self.began

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event in the log."""
        found = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in found if line.get("event") == event]

    def resident_mb(self) -> float:
        """Return the resident memory, in MB of a million bytes."""
        return self._status("VmRSS") * 1024 / 1e6

    def written_bytes(self) -> int:
        """Return the number of bytes that it has written to the disk."""
        return self._io("write_bytes")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, and wait for the end of the daemon."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(READY_S)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        """Receive every message.

        The queue of a datagram socket is short. A full queue would block the daemon.
        """
        with suppress(OSError):
            while message := self._socket.recv(4096).decode():
                if self._ready_at is None and "STATUS=generation" in message:
                    self._ready_at = time.monotonic()

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    def _io(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def contents(host: Host) -> list[bytes]:
    """Return the contents of the three files."""
    until(lambda: all((host.root / name).exists() for name in REGISTRIES), "the registries exist")
    return [(host.root / name).read_bytes() for name in REGISTRIES]
