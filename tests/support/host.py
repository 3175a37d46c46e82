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
DEADLINE_S = 60.0
"""How long a test waits for what must come: much longer than it ever takes, on a slow or busy machine as
well."""

LEAVE_S = 3.0

PIPES: dict[str, int | None] = {"stdin": None, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

COVERAGE = "COVERAGE_PROCESS_CONFIG"
"""Set by `make coverage`: what tests start is counted, too."""

COUNTED = {name: os.environ[name] for name in (COVERAGE,) if name in os.environ}
"""What the environment of a process must hold to be counted."""

_STAMP = re.compile(rb'(generated_at"?: ["\'])[^"\']*')


def until(claim: Callable[[], object], what: str) -> None:
    """Look again and again until the claim holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not claim():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.01)


def process(
    command: Sequence[str], env: Mapping[str, str], *, cold: bool = False, **streams: int
) -> subprocess.Popen[str]:
    """Start a command, on pipes if not told otherwise.

    Forked by a process that has imported it, where that can be done.
    """
    words, to = [*command], PIPES | streams
    kind: type[subprocess.Popen[str]] = subprocess.Popen
    for program, name in (((COMMAND,), "omnicdc"), (PROGRAM, "faulty")):
        if (*words[: len(program)],) == program and not cold and can_start(env):
            words, kind = [name, *words[len(program) :]], Warm
    return kind(words, env=dict(env), text=True, stdin=to["stdin"], stdout=to["stdout"], stderr=to["stderr"])


class Daemon:
    """`omnicdc run` as a process; its log is read as it comes."""

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
        self._news = threading.Condition()
        self.process = process([*program, *arguments], env, cold=cold)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, event: str, *, after: int = 0, **keys: object) -> dict[str, Any]:
        """Return the first event of this name, and with these keys, from the log's line `after` on."""

        def found() -> dict[str, Any] | None:
            matching = (
                it for it in self.events[after:] if it["event"] == event and keys.items() <= it.items()
            )
            return next(matching, None)

        deadline = time.monotonic() + DEADLINE_S
        with self._news:
            while not (event_found := found()):
                left = deadline - time.monotonic()
                assert left > 0, f"no event {event} {keys} in {self.events} {self.noise}"
                assert self.process.poll() is None or self._reader.is_alive(), (
                    f"ended: {self.events} {self.noise}"
                )
                self._news.wait(min(left, 0.2))
            return event_found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(how)
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status

    def kill(self) -> None:
        """End it as a power cut would."""
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        """End it if it runs, and let go of its pipes."""
        if COUNTED and self.process.poll() is None:
            # One that is killed does not tell what it passed.
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
            with self._news:
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    self.noise.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


class Host:
    """Root, state directory and environment of one registry host."""

    def __init__(self, where: Path, dsn: str) -> None:
        self.root = where / "root"
        self.state = where / "state"
        self.root.mkdir(parents=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(where),
            "OMNICDC_DSN": dsn,
            "OMNICDC_ROOT": str(self.root),
            "OMNICDC_STATE_DIR": str(self.state),
            "OMNICDC_CONSUMER": where.name,
            "OMNICDC_GH": "no",
            "OMNICDC_POLL_S": "0.5",
            **COUNTED,
        }
        self.program: tuple[str, ...] = (COMMAND,)
        """What starts a daemon: the installed command, or `support.faulty_command` in its place."""
        self.cold = False
        """Whether commands are started by an exec, as a shell does.

        Only then does /proc show their own words.
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

    def ask(self, *arguments: str, **env: str) -> Any:  # noqa: ANN401 - whatever it answers
        """Run the command and return its answer."""
        done = self.run(*arguments, "--json", **env)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def once(self) -> Any:  # noqa: ANN401 - as above
        """Bring the files up to date once."""
        return self.ask("run", "--once")

    def daemon(self, *arguments: str, **env: str) -> Daemon:
        """Start the daemon; returns when it has published for the first time."""
        daemon = self.starting(*arguments, **env)
        daemon.wait_for("serving")
        return daemon

    def starting(self, *arguments: str, **env: str) -> Daemon:
        """Start the daemon and wait for nothing."""
        daemon = Daemon(["run", *arguments], self.env | env, self.program, cold=self.cold)
        self._daemons.append(daemon)
        return daemon

    def serves(self) -> bool:
        """Whether any daemon of this host runs."""
        return any(daemon.process.poll() is None for daemon in self._daemons)

    def raw(self, registry: str) -> bytes:
        """Return a file as it is."""
        return (self.root / registry).read_bytes()

    def content(self) -> dict[str, bytes]:
        """Return every registry's bytes, the time of its generation aside."""
        return {
            name: _STAMP.sub(rb"\1", self.raw(name)) for name in REGISTRIES if (self.root / name).exists()
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
        """Return inode and time of every registry: what changes when a file is rewritten."""
        return {name: ((found := (self.root / name).stat()).st_ino, found.st_mtime_ns) for name in REGISTRIES}

    def rewritten(self, before: dict[str, tuple[int, int]]) -> set[str]:
        """Return the registries whose files are not those of `before`, which `stats` gave."""
        return {name for name, found in self.stats().items() if found != before[name]}

    def config(self, **env: str) -> Config:
        """Return the configuration that the command would have."""
        return configuration.load({}, self.env | env, uid=os.getuid())

    def close(self) -> None:
        """End every daemon that still runs."""
        for daemon in self._daemons:
            daemon.close()
