"""Makes the files hold what the registries should, and only where they do not; the manifest last.

The decisions are here (equal content, the guard); whose file is there already is in `custody`, how it is replaced in `publish`.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from omnicdc.errors import RegistryError
from omnicdc.files import drift, ownership
from omnicdc.files.manifest import (
    MANIFEST,
    Manifest,
    announce,
    describe,
    read_announced,
    read_manifest,
    write_manifest,
)
from omnicdc.filesystem.atomic import Staged, discard, nobody, stage
from omnicdc.formats.contents import content
from omnicdc.formats.layout import layout_of
from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from omnicdc.config.settings import Config
    from omnicdc.registries.scanners import Frame
    from omnicdc.state import Standing, State

log = structlog.get_logger()

S = TypeVar("S")
T = TypeVar("T")

_DISK = ThreadPoolExecutor(thread_name_prefix="disk")
"""Started when first needed; for what waits in the kernel, decisions stay in one thread."""


def recall(state: State) -> str | None:
    """Learn from the manifest what was published before this start; without one, everything is compared.

    What a killed process left half written is removed: it may be long until the same file is written again.
    Returns the snapshot that the manifest tells of.
    """
    root = state.config.require_root()
    for path in (MANIFEST, *(Path(standing.path) for standing in state.standings.values())):
        discard(root, path)
        drift.discard_copy(path.name, state.config.state_dir)
    state.announced, manifest = read_announced(root), read_manifest(root)
    state.manifest_seen = ownership.manifest_there(state) if manifest else None
    state.generation = max(state.generation, manifest.generation if manifest else 0)
    for standing in state.standings.values():
        standing.published = manifest.registries.get(standing.path) if manifest else None
        if standing.published is None:
            standing.found = _entries_in(root, standing)
    return manifest.snapshot if manifest else None


def publish(state: State, replaced: ExitStack, observe: Callable[[str], None]) -> tuple[str, ...]:
    """Write every pending registry whose file differs; returns the names of those rewritten.

    All are written and synced side by side, then swapped one after the other, then their directories synced.
    A registry that cannot be written, or that the guard holds, keeps its last good file, says why in its
    fault, and stays pending. The files replaced are freed when `replaced` ends. A repeat writes nothing.
    """
    due = [
        standing
        for standing in state.standings.values()
        if standing.pending and state.may_try(standing) and not _settled(state, standing, observe)
    ]
    drafts = [draft for draft in _side_by_side(partial(_drafted, state, replaced, observe), due) if draft]
    ready = [draft for draft in drafts if _kept(state, draft)]
    if ready:
        announce(state.config.require_root(), state.announced)
    swapped = [draft for draft in ready if _done(Staged.swap, observe, draft) and _kept_late(state, draft)]
    for draft in swapped:
        draft.seen()
    synced = _side_by_side(partial(_done, Staged.sync, observe), swapped)
    written = [draft for draft, lasting in zip(swapped, synced, strict=True) if lasting]
    for draft in written:
        draft.settle()
        observe(f"published {draft.standing.registry.scanner.name}")
    state.accepted = False
    if written:
        state.generation += 1
        state.manifest_due = True
    state.settle()
    return tuple(draft.standing.name for draft in written)


def record(state: State, observe: Callable[[str], None]) -> None:
    """Write the manifest, if it is due. Nobody waits for it: it helps the next start, and is no promise."""
    if state.manifest_due:
        _tell_manifest(state)
        observe("manifest")


def loses_too_much(before: int, after: int, config: Config) -> bool:
    """Whether the guard must hold: more than its share of the entries, and at least its number, would go at once."""
    lost = before - after
    return lost >= config.guard_min and lost > before * config.guard_share


def _settled(state: State, standing: Standing, observe: Callable[[str], None]) -> bool:
    """Whether there is nothing to write, now."""
    if standing.scan_due:
        return True
    try:
        ours = ownership.as_put(state, standing)
        foreign = not (ours or ownership.announced(state, standing))
        settled = (
            ownership.adopt(state, standing, _of(standing, observe), ours=ours)
            or _guarded(state, standing)
            or (foreign and ownership.leave(state, standing))
        )
        if foreign and not settled:
            ownership.keep(state, standing)
    except RegistryError as exc:
        standing.hold(Fault(exc.message, exc.hint))
        return True
    return settled


@dataclass(frozen=True, slots=True)
class _Draft:
    """A registry's next file, beside the present one."""

    standing: Standing
    file: Staged
    frame: Frame
    stamp: str
    began: float
    """By the monotonic clock, in seconds: when it was begun."""

    def hold(self, error: RegistryError) -> None:
        """Hold the registry for what failed; the next attempt writes the file again, so all of this one counts."""
        _hold(self.standing, error, self.began)

    def seen(self) -> None:
        """Take it as what readers see."""
        document = self.standing.registry.document
        self.standing.unsynced = describe(
            document.digests(self.frame), self.file.status, len(document), self.stamp
        )
        self.standing.unread = False
        self.standing.not_kept = _report_not_kept(
            self.standing.name, self.file.not_kept, self.standing.not_kept
        )

    def settle(self) -> None:
        """Take it as published."""
        self.standing.lasts()


def _report_not_kept(file: str, not_kept: tuple[str, ...], reported: tuple[str, ...]) -> tuple[str, ...]:
    """Log the attributes that a file lost when it was replaced, unless they were reported; returns what is reported."""
    new = [name for name in not_kept if name not in reported]
    if not new:
        return reported
    log.warning("attributes_not_kept", registry=file, attributes=new)
    return (*reported, *new)


def _hold(standing: Standing, error: RegistryError, began: float) -> None:
    standing.hold(Fault(error.message, error.hint), took_s=time.monotonic() - began)


def _side_by_side(deed: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Do it to all at once: the first here, the others in threads, which wait for the disk together."""
    others = [_DISK.submit(deed, item) for item in items[1:]]
    try:
        first = [deed(item) for item in items[:1]]
    finally:
        wait(others)  # none of them may still be writing when the next cycle begins
    return [*first, *(other.result() for other in others)]


def _drafted(
    state: State, replaced: ExitStack, observe: Callable[[str], None], standing: Standing
) -> _Draft | None:
    """Write and sync a registry's next file; None if that failed."""
    registry, stamp = standing.registry, datetime.now(UTC).isoformat(timespec="microseconds")
    began = time.monotonic()
    frame = registry.frame(stamp)
    parts = registry.document.parts(frame)
    try:
        file = stage(state.config.require_root(), standing.path, parts, _of(standing, observe))
    except RegistryError as exc:
        _hold(standing, exc, began)
        return None
    return _Draft(standing, replaced.enter_context(file), frame, stamp, began)


def _done(
    step: Callable[[Staged, Callable[[str], None]], None], observe: Callable[[str], None], draft: _Draft
) -> bool:
    """Take a step with a file; returns whether it could be taken."""
    try:
        step(draft.file, _of(draft.standing, observe))
    except RegistryError as exc:
        draft.hold(exc)
        return False
    return True


def _kept(state: State, draft: _Draft) -> bool:
    """Keep aside what another hand put in the place while the file was written; returns whether that could be done.

    What is there now, and what comes in its place, is known as ours from here on.
    """
    path, new = draft.standing.path, draft.file.status
    there = drift.signature(state.config.require_root() / path)
    try:
        if ownership.foreign(state, draft.standing):
            ownership.keep(state, draft.standing)
    except RegistryError as exc:
        draft.hold(exc)
        return False
    state.announced[path] = [there, (new.st_size, new.st_mtime_ns, new.st_ino)]
    return True


def _kept_late(state: State, draft: _Draft) -> bool:
    """Keep aside what another hand put there after that; if it cannot be kept, it is put back. Returns whether it could."""
    try:
        ownership.keep_replaced(state, draft.standing, draft.file.replaced)
    except RegistryError as exc:
        draft.hold(exc)
        _done(Staged.swap, nobody, draft)
        return False
    return True


def _of(standing: Standing, observe: Callable[[str], None]) -> Callable[[str], None]:
    """Name the registry in the steps of writing it."""
    return lambda step: observe(f"{step} {standing.registry.scanner.name}")


def _entries_in(root: Path, standing: Standing) -> int:
    """Count the entries of a file that no manifest tells of, for the guard; none if it is not laid out as ours."""
    with suppress(RegistryError):
        data = content(root / standing.path) or b""
        return len(layout_of(standing.registry.scanner).split(data).cores)
    return 0


def _guarded(state: State, standing: Standing) -> bool:
    before = standing.published.count if standing.published else standing.found
    after = len(standing.registry.document)
    # What was accepted is what somebody could see held; a loss that came with the acceptance is another one.
    if (state.accepted and standing.guarded) or not loses_too_much(before, after, state.config):
        return False
    reason = f"it would lose {before - after} of its {before} entries at once"
    standing.hold(Fault(reason, "look at CMP; if it is meant, run `omnicdc accept`"), guarded=True)
    return True


def _tell_manifest(state: State) -> None:
    registries = {
        standing.path: standing.published for standing in state.standings.values() if standing.published
    }
    config, root = state.config, state.config.require_root()
    manifest = Manifest(config.consumer, state.generation, state.snapshot, datetime.now(UTC), registries)
    try:
        if os.path.isdir(root / MANIFEST):  # noqa: PTH112 - never raises
            drift.keep_aside(root, MANIFEST, config.state_dir, datetime.now(UTC))
        lost = write_manifest(root, manifest)
        state.manifest_not_kept = _report_not_kept(MANIFEST.name, lost, state.manifest_not_kept)
    except RegistryError as exc:
        # It only helps the next start; the files themselves are durable.
        if state.last_error != str(exc):
            log.warning("manifest_not_written", error=exc.message, hint=exc.hint)
        state.manifest_due, state.last_error, state.last_error_at = True, str(exc), datetime.now(UTC)
    else:
        state.manifest_due, state.last_error, state.last_error_at = False, None, None
        state.manifest_seen = ownership.manifest_there(state)
