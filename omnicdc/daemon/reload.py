"""Reports what became of a reload, in a file of the state directory: `omnicdc reload` waits for it.

A signal has no answer, and systemd has none for a reload either (a service of type notify-reload cannot
refuse one). So the daemon writes the outcome, and the command that sent the signal reads it.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import orjson

from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.files.lock import holder_of
from omnicdc.inputs import cache

FILE = Path("reload.json")
"""The file's name in the state directory."""

CHECK_S = 0.05
"""Seconds between two looks at the outcome."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the last reload of a daemon."""

    pid: int
    number: int
    """How many reloads this process has begun."""
    state: Literal["reading", "starting", "in_force", "refused"]
    """`starting`: the configuration is valid, and nothing was published with it yet."""
    error: str = ""
    hint: str = ""


def load_outcome(state_dir: Path) -> Outcome | None:
    """Return the outcome of the last reload; None if there was none, or if the file cannot be read."""
    try:
        return Outcome(**orjson.loads(cache.read(state_dir / FILE) or b""))
    except (orjson.JSONDecodeError, TypeError):
        return None


def request(
    root: Path, state_dir: Path, timeout_s: float, *, pid: int | None = None, may_wait: bool = False
) -> Outcome:
    """Have a daemon read its configuration again; return the outcome, or how far it got within the time.

    The daemon is the process `pid`, or the one that publishes below `root`. With `may_wait`, it also returns
    when the daemon has taken the configuration and says what it waits for, such as the database.

    Raises ConfigError if there is no such process, if it belongs to another user, and if it does not report
    within `timeout_s` seconds.
    """
    before = load_outcome(state_dir)
    if pid is None:
        pid = daemon_of(root, state_dir)
    elif Path(f"/proc/{pid}").exists() and not _is_daemon(pid, root, before):
        raise ConfigError(
            f"process {pid} is no omnicdc daemon", hint="`systemctl status omnicdc` shows its process"
        )
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError as exc:
        raise ConfigError(f"there is no process {pid}", hint="`systemctl status omnicdc`") from exc
    except PermissionError as exc:
        raise ConfigError(
            f"process {pid} belongs to another user", hint="`sudo systemctl reload omnicdc`"
        ) from exc
    outcome = _outcome_after(before, state_dir, time.monotonic() + timeout_s, may_wait=may_wait)
    if outcome is None:
        raise ConfigError(
            f"process {pid} did not report within {timeout_s:g} s, in {state_dir}, that it reloads",
            hint="`systemctl status omnicdc`; name its directory if it has another one: --state-dir DIR",
        )
    return outcome


def daemon_of(root: Path, state_dir: Path) -> int:
    """Return the process that publishes below `root`, or else the one that uses the state directory.

    The root may be another one than before: then only the state directory leads to the daemon. Raises
    ConfigError if there is none.
    """
    if pid := holder_of(root):
        return pid
    last = load_outcome(state_dir)
    if last and _is_daemon(last.pid, root, None):
        return last.pid
    raise ConfigError(f"no daemon publishes below {root} on this host", hint="`systemctl start omnicdc`")


def _is_daemon(pid: int, root: Path, last: Outcome | None) -> bool:
    """Whether a process is a daemon: SIGHUP would end most others, and the process id may be an old one."""
    return b"omnicdc" in _command(pid) or holder_of(root) == pid or bool(last and last.pid == pid)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _outcome_after(
    before: Outcome | None, state_dir: Path, deadline: float, *, may_wait: bool
) -> Outcome | None:
    """Wait for the outcome of the reload that follows `before`; return the last known one at the deadline."""
    while True:
        found = load_outcome(state_dir)
        if found and before and (found.pid, found.number) == (before.pid, before.number):
            found = None
        if found and (found.state in {"in_force", "refused"} or (may_wait and found.error)):
            return found
        if time.monotonic() >= deadline:
            return found
        time.sleep(CHECK_S)


class ReloadReport:
    """Writes the outcome of each reload of this process. If it cannot be written, nothing else happens."""

    def __init__(self) -> None:
        self._outcome = Outcome(os.getpid(), 0, "in_force")
        self._state_dir: Path | None = None

    def started(self, state_dir: Path) -> None:
        """Report that this process uses the state directory, so that `request` finds it."""
        self._state_dir = state_dir
        self._write(self._outcome)

    def begin(self, state_dir: Path) -> None:
        """Report that the configuration is being read."""
        self._state_dir = state_dir
        self._write(Outcome(self._outcome.pid, self._outcome.number + 1, "reading"))

    def starting(self, state_dir: Path) -> None:
        """Report that the configuration is valid. `state_dir` is the directory that it names."""
        self._state_dir = state_dir
        self._write(replace(self._outcome, state="starting"))

    @property
    def is_starting(self) -> bool:
        """Whether nothing was published yet with the configuration that was read last."""
        return self._outcome.state == "starting"

    def in_force(self) -> None:
        """Report that the first publication with the new configuration is done. A repeat does nothing."""
        if self.is_starting:
            self._write(replace(self._outcome, state="in_force", error="", hint=""))

    def delayed(self, error: str, hint: str) -> None:
        """Report what the new configuration waits for."""
        if self.is_starting and self._outcome.error != error:
            self._write(replace(self._outcome, error=error, hint=hint))

    def refused(self, error: str, hint: str) -> None:
        """Report that the configuration from before stays in force."""
        self._write(replace(self._outcome, state="refused", error=error, hint=hint))

    def _write(self, outcome: Outcome) -> None:
        self._outcome = outcome
        if self._state_dir is None:
            return  # it is not known yet, and nobody waits before it is
        try:
            cache.write(self._state_dir / FILE, orjson.dumps(asdict(outcome)))
        except OmnicdcError:
            return  # status reports an unwritable state directory; the command reports that it got no answer
