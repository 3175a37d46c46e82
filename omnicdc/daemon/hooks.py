"""Runs an operator's commands after publications: `on_publish`, for one registry or for all.

A thread runs them, so that they never delay a publication. A hook that fails is run again after a pause,
which grows.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from omnicdc.files.command import run_command
from omnicdc.registries.catalog import registries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from omnicdc.config.settings import Config
    from omnicdc.model import Generation
    from omnicdc.state import State

log = structlog.get_logger()

ALL_REGISTRIES = "on_publish"
"""The name of the hook for all registries."""

LONGEST_PAUSE_S = 300.0
"""The longest pause before a hook that failed is repeated."""


@dataclass(slots=True)
class Hook:
    """One command, and what it has still to be told."""

    name: str
    """The registry's name; ALL_REGISTRIES for all."""
    command: tuple[str, ...]
    pending: dict[str, str] = field(default_factory=dict)
    """The registries that were published since it last ran: name to path."""
    generation: int = 0
    snapshot: str = ""
    """What was published last."""
    done: int = -1
    """The last generation that it was told."""
    next_at: float = 0.0
    failures: int = 0
    fault: str = ""


class Hooks:
    """The hooks of a configuration. `close` ends the thread; a hook that runs is finished first.

    After a restart, a hook that was not told the last generation runs once for all its registries.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._file = config.state_dir / "hooks.json"
        self._changed = threading.Condition()
        self._ending = False
        scanners = registries(config).values()
        self._hooks = [Hook(it.registry, it.hook) for it in scanners if it.hook]
        if config.on_publish:
            self._hooks.append(Hook(ALL_REGISTRIES, config.on_publish))
        self._known = self._load()
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread, if there is any hook."""
        if self._hooks:
            self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """End the thread."""
        self.close()

    def close(self) -> None:
        """Let the hooks that are due run once more, then end. A repeat does nothing."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(self._config.hook_timeout_s + 1.0)

    def resume(self, state: State) -> None:
        """Tell the hooks what was published before this process, if they were not told."""
        everything = {file.name: file.path for file in state.files.values()}
        for hook in self._hooks:
            hook.done = self._known.get(hook.name, -1)
            if hook.done < state.generation and state.generation > 0:
                self._add(hook, everything, state.generation, state.snapshot)

    def published(self, generation: Generation, state: State) -> None:
        """Tell the hooks what a generation published. Its files are durable. This returns at once."""
        paths = {file.name: file.path for file in state.files.values() if file.name in generation.registries}
        for hook in self._hooks if paths else ():
            self._add(hook, paths, generation.number, generation.snapshot)

    def faults(self) -> list[str]:
        """Return a line for each hook that fails."""
        return [hook.fault for hook in self._hooks if hook.fault]

    def _add(self, hook: Hook, paths: Mapping[str, str], generation: int, snapshot: str) -> None:
        wanted = {name: path for name, path in paths.items() if hook.name in (ALL_REGISTRIES, name)}
        if not wanted:
            return
        with self._changed:
            hook.pending |= wanted
            hook.generation, hook.snapshot = generation, snapshot
            self._changed.notify_all()

    def _run(self) -> None:
        while hook := self._next():
            with self._changed:
                told, hook.pending = hook.pending, {}
                generation, snapshot = hook.generation, hook.snapshot
            ended = run_command(
                hook.command,
                self._config.hook_timeout_s,
                {
                    "OMNICDC_GENERATION": str(generation),
                    "OMNICDC_REGISTRIES": ":".join(told),
                    "OMNICDC_TOKEN_SNAPSHOT": snapshot,
                },
                self._message(told, generation, snapshot),
            )
            self._record(hook, told, generation, ended.fault, ended.output)

    def _next(self) -> Hook | None:
        """Wait until a hook is due; None at the end."""
        with self._changed:
            while True:
                waiting = [hook for hook in self._hooks if hook.pending]
                now = time.monotonic()
                due = [hook for hook in waiting if self._ending or hook.next_at <= now]
                if self._ending:
                    due = [hook for hook in due if not hook.failures]
                if due:
                    return due[0]
                if self._ending:
                    return None
                soonest = min((hook.next_at for hook in waiting), default=None)
                self._changed.wait(None if soonest is None else soonest - now)

    def _record(self, hook: Hook, told: dict[str, str], generation: int, fault: str, output: str) -> None:
        interval_s = self._config.hook_interval_s
        if not fault:
            if hook.failures:
                log.info("hook_recovered", hook=hook.name)
            hook.failures, hook.fault, hook.done = 0, "", generation
            hook.next_at = time.monotonic() + interval_s
            self._save()
            return
        with self._changed:
            hook.pending = told | hook.pending
        hook.failures += 1
        hook.fault = f"on_publish of {hook.name} failed: {fault}" + (f": {output}" if output else "")
        hook.next_at = time.monotonic() + min(interval_s * 2.0 ** min(hook.failures, 10), LONGEST_PAUSE_S)
        if hook.failures == 1:
            log.warning("hook_failed", hook=hook.name, reason=fault, output=output)

    def _message(self, told: Mapping[str, str], generation: int, snapshot: str) -> bytes:
        """Return what the command reads from its standard input."""
        root = self._config.require_root()
        return json.dumps({
            "generation": generation,
            "snapshot": snapshot,
            "consumer": self._config.consumer,
            "registries": [{"name": name, "path": str(root / path)} for name, path in told.items()],
        }).encode()  # fmt: skip

    def _load(self) -> dict[str, int]:
        """Return the last generation that each hook was told. If that is not known, it runs once more."""
        try:
            found = json.loads(self._file.read_bytes())
            return {str(name): int(number) for name, number in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _save(self) -> None:
        temporary = Path(f"{self._file}.new")
        try:
            temporary.write_text(json.dumps({hook.name: hook.done for hook in self._hooks}))
            temporary.replace(self._file)
        except OSError as exc:
            log.warning("hook_not_recorded", reason=str(exc), hint="after a restart the hooks run once more")
