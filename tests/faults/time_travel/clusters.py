"""PostgreSQL clusters that can take each other's place.

Each test takes copies of one prepared cluster. Several clusters may use the same socket in turn, so that one
DSN reaches them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from support.cmp import Cmp
from support.fresh_server import FreshServer
from support.host import Host

SETTINGS = {"fsync": "off", "wal_level": "logical", "max_wal_size": "128MB"}


class Cluster(FreshServer):
    """A server whose socket may be where the socket of another server was, so that one DSN reaches both."""

    def __init__(self, directory: Path, socket: Path, programs: Path | None = None, **settings: str) -> None:
        self.socket = socket
        super().__init__(
            directory, {**SETTINGS, **settings, "unix_socket_directories": str(socket)}, programs
        )

    @property
    def data(self) -> Path:
        return self._data

    @property
    def programs(self) -> Path:
        return self._programs

    def dsn(self, dbname: str = "cmp", user: str = "postgres") -> str:
        return f"host={self.socket} port={self.port} dbname={dbname} user={user}"

    def cmp(self) -> Cmp:
        """Open CMP. The caller closes it before the server stops."""
        return Cmp(self.dsn())

    def make_writable(self, path: Path) -> Path:
        """Make a directory in which the server may write; returns it."""
        path.mkdir(exist_ok=True)
        if self._user:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        return path

    def call(self, program: str, *arguments: object) -> str:
        """Run one of the server's programs as the server's user; returns its output."""
        done = self._call(program, *map(str, arguments))
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def call_client(self, program: str, *arguments: str | Path, script: str = "") -> str:
        """Run one of the client programs as the test's own user; returns its output."""
        command = [self.programs / program, *arguments]
        return subprocess.run(command, input=script, check=True, capture_output=True, text=True).stdout

    def copy_data_of(self, other: Cluster) -> None:
        """Replace the data with a copy of another cluster's, like a restored backup. Both are stopped."""
        shutil.rmtree(self.directory, ignore_errors=True)
        subprocess.run(["cp", "-a", other.directory, self.directory], check=True)


class Sandbox:
    """The clusters and the registry hosts of one test. All end with it."""

    def __init__(self, directory: Path, prepared: Cluster) -> None:
        self.directory = directory
        self.prepared = prepared
        self.socket = prepared.make_writable(directory / "socket")
        self._number = count()
        self._undo = ExitStack()

    def cluster(self, of: Cluster | None = None, socket: Path | None = None, **settings: str) -> Cluster:
        """Return a copy of a stopped cluster. The copy is not running."""
        cluster = self.empty_cluster(socket, **settings)
        cluster.copy_data_of(of or self.prepared)
        return cluster

    def empty_cluster(self, socket: Path | None = None, **settings: str) -> Cluster:
        """Return a cluster without any data."""
        directory = self.directory / f"cluster{next(self._number)}"
        cluster = Cluster(directory, socket or self.socket, self.prepared.programs, **settings)
        self._undo.callback(cluster.delete)
        cluster.make_writable(directory)
        return cluster

    def backup(self, of: Cluster, *options: object) -> Cluster:
        """Return a base backup of a running cluster, as a cluster that is not running."""
        backup = self.empty_cluster(
            self.prepared.make_writable(self.directory / f"socket{next(self._number)}")
        )
        of.call("pg_basebackup", "-D", backup.data, "-c", "fast", "-d", of.dsn("postgres"), *options)
        return backup

    def host(self, dsn: str, name: str = "host") -> Host:
        """Return a registry host. Its daemon is not running."""
        host = Host(self.directory / f"{next(self._number)}" / name, dsn)
        self._undo.callback(host.close)
        return host

    def close(self) -> None:
        self._undo.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def shared_directory() -> Path:
    """Make a directory that the servers' user may enter."""
    directory = Path(tempfile.mkdtemp(prefix="omnicdc-past-"))
    directory.chmod(0o711)
    return directory
