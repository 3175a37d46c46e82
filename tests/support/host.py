"""A registry host: the installed command, its daemon, and the files that readers see."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from omnicdc.config import settings as configuration
from support.agents import REGISTRY as AGENTS
from support.agents import STAFF, TEAMS
from support.faulty_command import PROGRAM
from support.warm import Warm, can_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from omnicdc.config.settings import Config

CANONICAL = "governance/registry/uuid/canonical_projects_uuids.json"
PROJECT = "governance/registry/projects/PROJECT_REGISTRY_V1.yaml"
INVENTORY = "governance/registry/git_repos/repo_inventory.json"
REGISTRIES = (CANONICAL, PROJECT, INVENTORY)

COMMAND = str(Path(sys.executable).with_name("omnicdc"))
DEADLINE_S = 120.0
"""The time limit for everything that must happen: much longer than it takes on a slow or busy machine."""

LEAVE_S = 3.0

PIPES: dict[str, int | None] = {"stdin": None, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

COVERAGE = "COVERAGE_PROCESS_CONFIG"
"""A variable that `make coverage` sets, so that coverage also counts the processes that tests start."""

COUNTED = {name: os.environ[name] for name in (COVERAGE,) if name in os.environ}
"""The variables that a process needs in its environment for coverage."""

_STAMP = re.compile(rb'(generated_at"?: ["\'])[^"\']*')


def until(claim: Callable[[], object], what: str) -> None:
    """Repeat the claim until it holds; fail after the time limit with the text `what`."""
    deadline = time.monotonic() + DEADLINE_S
    while not claim():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.01)


def process(
    command: Sequence[str], env: Mapping[str, str], *, cold: bool = False, **streams: int
) -> subprocess.Popen[str]:
    """Start a command; its streams are pipes by default.

    If possible, a process that has already imported the command forks it (support.warm).
    """
    words, to = [*command], PIPES | streams
    kind: type[subprocess.Popen[str]] = subprocess.Popen
    for program, name in (((COMMAND,), "omnicdc"), (PROGRAM, "faulty")):
        if (*words[: len(program)],) == program and not cold and can_start(env):
            words, kind = [name, *words[len(program) :]], Warm
    return kind(words, env=dict(env), text=True, stdin=to["stdin"], stdout=to["stdout"], stderr=to["stderr"])


class Daemon:
    """`omnicdc run` as a process. A thread reads its log."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: dict[str, str],
        program: Sequence[str] = (COMMAND,),
        *,
        cold: bool = False,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self._changed = threading.Condition()
        self.process = process([*program, *arguments], env, cold=cold)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, event: str, *, after: int = 0, **keys: object) -> dict[str, Any]:
        """Return the first event with this name and these keys, from the line `after` of the log on."""

        def found() -> dict[str, Any] | None:
            matching = (
                it for it in self.events[after:] if it["event"] == event and keys.items() <= it.items()
            )
            return next(matching, None)

        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while not (event_found := found()):
                left = deadline - time.monotonic()
                assert left > 0, f"no event {event} {keys} in {self.events} {self.noise}"
                assert self.process.poll() is None or self._reader.is_alive(), (
                    f"ended: {self.events} {self.noise}"
                )
                self._changed.wait(min(left, 0.2))
            return event_found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(how)
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status

    def kill(self) -> None:
        """End the daemon with SIGKILL."""
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        """End the daemon if it runs, and close its pipes."""
        if COUNTED and self.process.poll() is None:
            # Coverage is written only at a regular end.
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(LEAVE_S)
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._changed:
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    self.noise.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


class Host:
    """Root, state directory and environment of one registry host."""

    def __init__(self, where: Path, dsn: str) -> None:
        self.root = where / "root"
        self.state = where / "state"
        self.root.mkdir(parents=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(where),
            "OMNICDC_CONFIG": "",  # not the /etc/omnicdc of whoever runs the tests
            "OMNICDC_DSN": dsn,
            "OMNICDC_ROOT": str(self.root),
            "OMNICDC_STATE_DIR": str(self.state),
            "OMNICDC_CONSUMER": where.name,
            "OMNICDC_GH": "no",
            "OMNICDC_POLL_S": "0.5",
            **COUNTED,
        }
        self.program: tuple[str, ...] = (COMMAND,)
        """The program of the daemon: the installed command, or `support.faulty_command` instead."""
        self.cold = False
        """Whether commands are started by an exec, as a shell does.

        Only then does /proc show their own arguments and environment.
        """
        self._daemons: list[Daemon] = []

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        command = [COMMAND, *arguments]
        with process(command, self.env | env, cold=self.cold) as running:
            try:
                out, err = running.communicate(timeout=2 * DEADLINE_S)
            except subprocess.TimeoutExpired:
                running.kill()
                raise
        return subprocess.CompletedProcess(command, running.returncode, out, err)

    def ask(self, *arguments: str, **env: str) -> Any:  # noqa: ANN401 - any JSON
        """Run the command and return its answer."""
        done = self.run(*arguments, "--json", **env)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def once(self) -> Any:  # noqa: ANN401 - as above
        """Bring the files up to date once."""
        return self.ask("run", "--once")

    def daemon(self, *arguments: str, **env: str) -> Daemon:
        """Start the daemon; return when it has published for the first time."""
        daemon = self.starting(*arguments, **env)
        daemon.wait_for("serving")
        return daemon

    def starting(self, *arguments: str, **env: str) -> Daemon:
        """Start the daemon, without waiting."""
        daemon = Daemon(["run", *arguments], self.env | env, self.program, cold=self.cold)
        self._daemons.append(daemon)
        return daemon

    def serves(self) -> bool:
        """Whether any daemon of this host runs."""
        return any(daemon.process.poll() is None for daemon in self._daemons)

    def raw(self, registry: str) -> bytes:
        """Return the bytes of a registry."""
        return (self.root / registry).read_bytes()

    def content(self) -> dict[str, bytes]:
        """Return the bytes of every registry that tests know, without the time of generation."""
        return {
            name: _STAMP.sub(rb"\1", self.raw(name))
            for name in (*REGISTRIES, AGENTS, TEAMS, STAFF)
            if (self.root / name).exists()
        }

    def canonical(self) -> dict[str, dict[str, Any]]:
        """Return the canonical registry's entries by id."""
        uuids = json.loads(self.raw(CANONICAL))["uuids"]
        assert isinstance(uuids, dict)
        return uuids

    def projects(self) -> dict[str, dict[str, Any]]:
        """Return the project registry's entries by id, as a YAML 1.1 reader sees them."""
        read = yaml.load(self.raw(PROJECT), yaml.CSafeLoader)
        return {entry["uuid"]: entry for entry in read["projects"]}

    def inventory(self) -> list[dict[str, Any]]:
        """Return the inventory's elements."""
        read = json.loads(self.raw(INVENTORY))
        assert isinstance(read, list)
        return read

    def stats(self) -> dict[str, tuple[int, int]]:
        """Return inode and modification time of every registry. They change when a file is rewritten."""
        return {name: ((found := (self.root / name).stat()).st_ino, found.st_mtime_ns) for name in REGISTRIES}

    def rewritten(self, before: dict[str, tuple[int, int]]) -> set[str]:
        """Return the registries that were rewritten since `before`, a result of `stats`."""
        return {name for name, found in self.stats().items() if found != before[name]}

    def config(self, **env: str) -> Config:
        """Return the configuration of the command."""
        return configuration.load({}, self.env | env, uid=os.getuid())

    def close(self) -> None:
        """End every daemon that still runs."""
        for daemon in self._daemons:
            daemon.close()
