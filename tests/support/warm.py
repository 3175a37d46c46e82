"""Starts the command without waiting for its imports.

A process that has made them forks one child for each command.

A command spends most of its time importing, and the tests start hundreds. `Warm` is `subprocess.Popen` for
them: real processes with arguments, environment, streams, signals and an exit status of their own, children
of the test. What they do not have is an exec: /proc shows the server's command line and environment. Tests of
those start the command cold, as `support.host.Host` does where it is told to.

As a program this file is the server; it reads requests from the socket whose number it is given.
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
_HELD = ("PYTHON", "LD_", "COVERAGE_")
"""Variables that begin so are read at the start of a process: with them it must be started cold."""


def can_start(env: Mapping[str, str]) -> bool:
    """Whether a command with this environment can be forked.

    OMNICDC_TEST_COLD=1 has every one started cold.
    """
    return not os.environ.get("OMNICDC_TEST_COLD") and not any(name.startswith(_HELD) for name in env)


class Warm(subprocess.Popen[str]):
    """The command as a process: of Popen's settings, only `args` without the program, `env` and streams."""

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
        # The child's parent is the server's child, which ends at once: then it becomes ours, whom we can wait
        # for.
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        self._socket, theirs = socket.socketpair()
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=env,
                pass_fds=[theirs.fileno()],
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
"""Several threads of a test may start commands."""


def _server() -> _Server:
    """Return this process's server; started when it is first asked for."""
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

    Returns in the child, with what it is to do, and in the server at the end: None.
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
    """Import what any command would, but for the demo, which no test starts from here."""
    import omnicdc  # noqa: PLC0415 - by the server alone

    for module in pkgutil.walk_packages(omnicdc.__path__, "omnicdc."):
        if not module.name.startswith(("omnicdc.demo", "omnicdc.__main__", "omnicdc.cli.demo")):
            import_module(module.name)
    import_module("support.faulty_command")


def _to_the_end(command: Callable[[], None]) -> NoReturn:
    """Run a command and end as an interpreter does, but for taking apart what the server imported."""
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
