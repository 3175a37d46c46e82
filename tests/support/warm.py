"""Starts commands fast: a server process that has made all imports forks a child for each command.

A command spends most of its time with imports, and the tests start hundreds of commands. `Warm` is a
`subprocess.Popen` for them. The children are real processes with their own arguments, environment, streams,
signals and exit status. But there is no exec, so /proc shows the command line and environment of the server.
Tests that need those start the command cold: see `support.host.Host.cold`.

As a program, this file is the server. Its argument is the number of the socket with the requests.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import pkgutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SUBREAPER = 36
"""prctl(2): PR_SET_CHILD_SUBREAPER."""

_LENGTH = struct.Struct("!I")
_READ_AT_START = ("PYTHON", "LD_", "COVERAGE_")
"""Prefixes of variables that are read only at the start of a process. With them, start the command cold."""


def can_start(env: Mapping[str, str]) -> bool:
    """Return whether a command with this environment can be forked.

    With OMNICDC_TEST_COLD=1 every command is started cold.
    """
    return not os.environ.get("OMNICDC_TEST_COLD") and not any(
        name.startswith(_READ_AT_START) for name in env
    )


class Warm(subprocess.Popen[str]):
    """A command as a process. It uses only these arguments of Popen: `args`, `env` and the streams."""

    def _execute_child(self, args: Any, _executable: Any, *rest: Any) -> None:  # noqa: ANN401 - Popen's own
        # In the order of Popen's own method, from Python 3.11 to 3.14.
        env, (p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite) = rest[4], rest[8:14]
        streams = [p2cread, c2pwrite, errwrite]
        try:
            self.pid = _server().start(
                args, env, [own if own != -1 else fd for fd, own in enumerate(streams)]
            )
            self._child_created = True
        finally:
            close = self._close_pipe_fds  # type: ignore[attr-defined]
            close(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


class _Server:
    """The process that forks."""

    def __init__(self) -> None:
        # The server forks twice, and the process in between ends at once. Then the child becomes a child of
        # this process, which can wait for it.
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        self._socket, server_end = socket.socketpair()
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        with server_end:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(server_end.fileno())],
                env=env,
                pass_fds=[server_end.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._lock = threading.Lock()

    def start(self, arguments: list[str], env: dict[str, str], streams: list[int]) -> int:
        """Return the pid of a new child."""
        umask = os.umask(0)
        os.umask(umask)
        cwd = os.getcwd()  # noqa: PTH109
        request = {"arguments": [*map(os.fspath, arguments)], "env": env, "cwd": cwd, "umask": umask}
        data = json.dumps(request).encode()
        with self._lock:
            socket.send_fds(self._socket, [_LENGTH.pack(len(data))], streams)
            self._socket.sendall(data)
            (pid,) = _LENGTH.unpack(_read(self._socket, _LENGTH.size))
        return int(pid)


_servers: dict[int, _Server] = {}
_starting = threading.Lock()
"""A lock, as several threads of a test may start commands."""


def _server() -> _Server:
    """Return the server of this process; start it at the first call."""
    with _starting:
        if os.getpid() not in _servers:
            _servers[os.getpid()] = _Server()
        return _servers[os.getpid()]


def _read(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def serve(stream: socket.socket) -> Callable[[], None] | None:
    """Fork a child for each request.

    In the child, return the function to run. In the server, return None at the end.
    """
    while True:
        try:
            header, streams, _, _ = socket.recv_fds(stream, _LENGTH.size, 3)
            request = json.loads(_read(stream, *_LENGTH.unpack(header)))
        except (EOFError, struct.error, ConnectionError):
            return None
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            pid = os.fork()
            if pid:
                os.write(writing, _LENGTH.pack(pid))
                os._exit(0)
            for fd in (reading, writing, stream.detach()):
                os.close(fd)
            return _become(request, streams)
        os.waitpid(between, 0)
        for fd in (*streams, writing):
            os.close(fd)
        stream.sendall(os.read(reading, _LENGTH.size))
        os.close(reading)


def _become(request: dict[str, Any], streams: list[int]) -> Callable[[], None]:
    """Turn this process into the command."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as we run
    sys.stdout = open(  # noqa: SIM115
        1, "w", encoding="utf-8", closefd=False, buffering=1 if os.isatty(1) else -1
    )
    sys.stderr = open(  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1
    )
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    program, *arguments = request["arguments"]
    sys.argv = ["omnicdc", *arguments]
    gc.enable()
    if program == "faulty":
        from support import faulty_command  # noqa: PLC0415 - imported before, by the server

        return faulty_command.main
    from omnicdc import cli  # noqa: PLC0415 - as above

    return cli.main


def _import_everything() -> None:
    """Import all that a command may import, except for the demo and what is for tests of other programs."""
    import omnicdc  # noqa: PLC0415 - by the server alone

    for module in pkgutil.walk_packages(omnicdc.__path__, "omnicdc."):
        if not module.name.startswith(("omnicdc.cli.demo", "omnicdc.testing", "omnicdc.__main__")):
            import_module(module.name)
    import_module("support.faulty_command")


def _to_the_end(command: Callable[[], None]) -> NoReturn:
    """Run a command and end as an interpreter does, without the slow clean-up of the imported modules."""
    status = 0
    try:
        command()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1 if exc.code else 0
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - the interpreter's own way
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    _import_everything()
    gc.disable()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if command := serve(socket.socket(fileno=int(sys.argv[1]))):
        _to_the_end(command)
