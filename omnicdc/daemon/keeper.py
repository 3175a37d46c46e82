"""Keeps each generation in the state directory.

This happens in a thread of its own, after the acknowledgement: no publication and no wait waits for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from omnicdc.errors import Interrupted, OmnicdcError
from omnicdc.files.kept.bounds import Bounds
from omnicdc.files.kept.record import KeptGeneration
from omnicdc.files.kept.store import Changed, Store, remove_all
from omnicdc.filesystem.atomic import no_observer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Self

    from omnicdc.config.settings import Config
    from omnicdc.files.manifest import Manifest
    from omnicdc.model import Generation, Published
    from omnicdc.state import State

log = structlog.get_logger()

MOST_WAITING = 16
"""The most generations that wait for a slow disk. If there are more, the newest replaces the one before."""

LEAVE_S = 0.25
"""Seconds that the end of the daemon waits for the thread."""

TO_THE_END_S = 60.0
"""Seconds that `run --once` waits for the thread."""

LONGEST_PAUSE_S = 300.0
"""The longest pause after a failure."""

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Task:
    """A generation to keep, and its open files; or without one: drop old generations to make room."""

    reserve: int
    """How many bytes the next publication needs, if it writes all files."""
    kept: KeptGeneration | None = None
    sources: Mapping[str, int] | None = None

    def close(self) -> None:
        for file in (self.sources or {}).values():
            os.close(file)


class Keeper:
    """The thread that keeps generations. With `keep_generations: 0` it removes what was kept, and ends."""

    def __init__(
        self, config: Config, observe: Callable[[str], None] = no_observer, *, to_the_end: bool = False
    ) -> None:
        self._config, self._observe = config, observe
        self._bounds = Bounds(config.keep_generations, config.keep_bytes)
        self._leave_s = TO_THE_END_S if to_the_end else LEAVE_S
        self._changed = threading.Condition()
        self._tasks: deque[_Task] = deque()
        self._ending = self._abandoned = False
        self._files: Mapping[str, object] | None = None
        """The blocks of the files that were handed over last; None if they must be handed over again."""
        self._modes: dict[str, int] = {}
        """The file's path below the root, to the mode that it had."""
        self._latest: Generation | None = None
        self._failures = 0
        self._next_at = 0.0
        self._fault = ""
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """End the thread. A generation that is not kept by then is kept after the next start."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(self._leave_s)
        self._abandoned = True

    def cycle_ended(self, generation: Generation | None, state: State) -> None:
        """Hand over what a cycle published. Its files are durable and acknowledged. This returns at once.

        After a failure, a later cycle hands the files over again, even if it published nothing.
        """
        held = bool(generation and generation.held)
        generation = self._latest = generation or self._latest
        if generation is None or not self._bounds.generations or time.monotonic() < self._next_at:
            return
        manifest = replace(state.as_manifest(), published_at=generation.at)
        reserve = 2 * sum(published.size for published in manifest.registries.values())
        if held:
            self._hand_over(_Task(reserve))
        kept, sources = self._described(manifest, generation)
        files = {path: published.blocks for path, published in kept.manifest.registries.items()}
        task = _Task(reserve, kept, sources)
        if files == self._files or not files:
            task.close()
            return
        self._files = files
        self._hand_over(task)

    def _described(
        self, manifest: Manifest, generation: Generation
    ) -> tuple[KeptGeneration, Mapping[str, int]]:
        """Return a generation as it can be kept, and its open files. What was kept before is not opened."""
        root, before = self._config.require_output_root(), self._files or {}
        changed = {
            path: published
            for path, published in manifest.registries.items()
            if before.get(path) != published.blocks
        }
        sources = _opened(root, changed)
        found = {
            path: published
            for path, published in manifest.registries.items()
            if path in sources or path not in changed
        }
        self._modes |= {path: os.fstat(file).st_mode & 0o777 for path, file in sources.items()}
        kept = KeptGeneration(
            manifest=replace(manifest, registries=found),
            root=str(root),
            changes=generation.changes,
            rewritten=generation.registries,
            held={name: fault.reason for name, fault in generation.held.items()},
            quarantined={name: len(held) for name, held in generation.quarantined.items()},
            timings=generation.timings,
            modes={path: mode for path, mode in self._modes.items() if path in found},
            left_out=tuple(path.rsplit("/", 1)[-1] for path in manifest.registries if path not in found),
        )
        return kept, sources

    def faults(self) -> list[str]:
        """Return a line if generations cannot be kept."""
        return [self._fault] if self._fault else []

    def _hand_over(self, task: _Task) -> None:
        with self._changed:
            if len(self._tasks) == MOST_WAITING:
                self._tasks.pop().close()
            self._tasks.append(task)
            self._changed.notify_all()

    def _run(self) -> None:
        store: Store | None = None
        if not self._bounds.generations:
            self._remove_all()
            return
        while (task := self._next_task()) is not None:
            try:
                store = store or Store(
                    self._config.state_dir, self._bounds, self._observe, lambda: not self._abandoned
                )
                reserve = task.reserve if self._shares_a_disk() else 0
                if task.kept:
                    store.keep(task.kept, task.sources or {}, reserve)
                else:
                    store.give_way(reserve)
                self._record("")
            except Interrupted:
                break
            except Changed:
                _closed(store)
                store = self._files = None
            except Exception as exc:  # noqa: BLE001 - the daemon goes on whatever is wrong with the store
                self._record(str(exc) if isinstance(exc, OmnicdcError) else f"{type(exc).__name__}: {exc}")
                _closed(store)
                store = None
            finally:
                task.close()
        _closed(store)
        while self._tasks:
            self._tasks.popleft().close()

    def _next_task(self) -> _Task | None:
        """Wait for a task. Return None at the end."""
        with self._changed:
            while not (self._tasks or self._ending):
                self._changed.wait()
            return self._tasks.popleft() if self._tasks else None

    def _shares_a_disk(self) -> bool:
        """Return True if what is kept takes room from the registries."""
        return self._config.require_output_root().stat().st_dev == self._config.state_dir.stat().st_dev

    def _remove_all(self) -> None:
        try:
            remove_all(self._config.state_dir)
        except OmnicdcError as exc:
            self._record(str(exc))

    def _record(self, fault: str) -> None:
        if not fault:
            if self._failures:
                log.info("generations_kept_again", failures=self._failures)
            self._failures, self._fault = 0, ""
            return
        if not self._failures:
            log.warning("generation_not_kept", error=fault)
        self._failures += 1
        self._fault = fault
        self._next_at = time.monotonic() + min(2.0**self._failures, LONGEST_PAUSE_S)
        self._files = None


def _closed(store: Store | None) -> None:
    """Close a store, if it is open. The next task opens it again."""
    if store:
        store.close()


def _opened(root: Path, files: Mapping[str, Published]) -> dict[str, int]:
    """Open the files that are as they were published. Return the open files by path."""
    sources = {}
    for path, published in files.items():
        with suppress(OSError):
            file = os.open(root / path, _OPEN)
            status = os.fstat(file)
            if (status.st_size, status.st_mtime_ns, status.st_ino) == (
                published.size, published.mtime_ns, published.inode
            ):  # fmt: skip
                sources[path] = file
            else:
                os.close(file)
    return sources
