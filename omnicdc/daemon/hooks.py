"""Runs an operator's commands after publications: `on_publish`, for one registry or for all.

Threads run them, so that they never delay a publication. A hook that fails is run again after a pause,
which grows.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from omnicdc.daemon.metrics.facts import HookFacts
from omnicdc.files.command import run_command
from omnicdc.log.scrub import scrubbed
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

LEAVE_S = 0.5
"""Seconds that the end of the daemon waits for a hook that runs."""

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
    next_at: float = 0.0
    failures: int = 0
    """Failures in a row."""
    fault: str = ""
    succeeded: int = 0
    failed: int = 0
    """All runs, by result."""


class Hooks:
    """The hooks of a configuration, and the threads that run them.

    At its end the daemon does not wait for a hook. So after each start or reload, when the registries are
    current, each hook runs once for all its registries. With `to_the_end`, each hook is told first what is
    pending.
    """

    def __init__(self, config: Config, *, to_the_end: bool = False) -> None:
        self._config, self._to_the_end = config, to_the_end
        self._started = to_the_end
        self._changed = threading.Condition()
        self._ending = False
        scanners = registries(config).values()
        self._hooks = [Hook(it.registry, it.hook) for it in scanners if it.hook]
        if config.on_publish:
            self._hooks.append(Hook(ALL_REGISTRIES, config.on_publish))
        # A thread for each, so that one that hangs does not delay the others.
        self._threads = [
            threading.Thread(target=self._run, args=(hook,), name="hook", daemon=True) for hook in self._hooks
        ]

    def __enter__(self) -> Self:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """End the threads."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        ends_at = time.monotonic() + (self._config.hook_timeout_s + 1.0 if self._to_the_end else LEAVE_S)
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))

    def cycle_ended(self, generation: Generation | None, state: State) -> None:
        """Tell the hooks what a cycle published. Its files are durable. This returns at once."""
        files = [file for file in state.files.values() if file.published]
        if self._started:
            written = generation.registries if generation else ()
            files = [file for file in files if file.name in written]
        self._started = True
        for hook in self._hooks:
            self._add(hook, {it.name: it.path for it in files}, state.generation, state.snapshot)

    def faults(self) -> list[str]:
        """Return a line for each hook that fails."""
        return [hook.fault for hook in self._hooks if hook.fault]

    def facts(self) -> dict[str, HookFacts]:
        """Return the runs of each hook. Any thread may call this."""
        return {it.name: HookFacts(it.succeeded, it.failed, bool(it.failures)) for it in self._hooks}

    def _add(self, hook: Hook, paths: Mapping[str, str], generation: int, snapshot: str) -> None:
        wanted = {name: path for name, path in paths.items() if hook.name in (ALL_REGISTRIES, name)}
        if not wanted:
            return
        with self._changed:
            hook.pending |= wanted
            hook.generation, hook.snapshot = generation, snapshot
            self._changed.notify_all()

    def _run(self, hook: Hook) -> None:
        while self._waits_until_due(hook):
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
            self._record(hook, told, ended.fault, ended.output)

    def _waits_until_due(self, hook: Hook) -> bool:
        """Wait until a hook is due. Return False at the end."""
        with self._changed:
            while not self._ending:
                pause_s = hook.next_at - time.monotonic()
                if hook.pending and pause_s <= 0:
                    return True
                self._changed.wait(pause_s if hook.pending else None)
            return self._to_the_end and bool(hook.pending) and not hook.failures

    def _record(self, hook: Hook, told: dict[str, str], fault: str, output: str) -> None:
        interval_s = self._config.hook_interval_s
        if not fault:
            if hook.failures:
                log.info("hook_recovered", hook=hook.name)
            hook.failures, hook.fault = 0, ""
            hook.succeeded += 1
            hook.next_at = time.monotonic() + interval_s
            return
        with self._changed:
            hook.pending = told | hook.pending
        hook.failures += 1
        hook.failed += 1
        name = "on_publish" if hook.name == ALL_REGISTRIES else f"on_publish of {hook.name}"
        text = f"{name} failed: {fault}" + (f": {output}" if output else "")
        # It is stored in the database, and everybody who may ask for the status reads it.
        hook.fault = f"{scrubbed(text)} - run it by hand, as the daemon's user"
        hook.next_at = time.monotonic() + min(interval_s * 2.0 ** min(hook.failures, 10), LONGEST_PAUSE_S)
        if hook.failures == 1:
            log.warning("hook_failed", hook=hook.name, reason=fault, output=output)

    def _message(self, told: Mapping[str, str], generation: int, snapshot: str) -> bytes:
        """Return what the command reads from its standard input."""
        root = self._config.require_output_root()
        return json.dumps({
            "generation": generation,
            "snapshot": snapshot,
            "consumer": self._config.consumer,
            "registries": [{"name": name, "path": str(root / path)} for name, path in told.items()],
        }).encode()  # fmt: skip
