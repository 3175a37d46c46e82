"""Makes the files hold what the registries should, and only where they do not; the manifest last.

The decisions are here (equal content, the guard, other hands); how a file is replaced is in `publish`.
"""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from omnicdc import drift
from omnicdc.errors import RegistryError
from omnicdc.manifest import MANIFEST, Manifest, describe, read_manifest, write_manifest
from omnicdc.model import Fault
from omnicdc.publish import Staged, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from omnicdc.config import Config
    from omnicdc.scanners import Frame
    from omnicdc.state import Standing, State

log = structlog.get_logger()

S = TypeVar("S")
T = TypeVar("T")

_DISK = ThreadPoolExecutor(thread_name_prefix="disk")
"""Started when first needed; for what waits in the kernel, decisions stay in one thread."""


def recall(state: State) -> str | None:
    """Learn from the manifest what was published before this start; without one, everything is compared.

    Returns the snapshot that the manifest tells of.
    """
    manifest = read_manifest(state.config.require_root())
    if manifest is None:
        return None
    state.generation = max(state.generation, manifest.generation)
    for standing in state.standings.values():
        standing.published = manifest.registries.get(standing.path)
    return manifest.snapshot


def publish(state: State, replaced: ExitStack, observe: Callable[[str], None]) -> tuple[str, ...]:
    """Write every pending registry whose file differs; returns the names of those rewritten.

    All are written and synced side by side, then swapped one after the other, then their directories synced.
    A registry that cannot be written, or that the guard holds, keeps its last good file, says why in its
    fault, and stays pending. The files replaced are freed when `replaced` ends. A repeat writes nothing.
    """
    due = [
        standing
        for standing in state.standings.values()
        if standing.pending and not _settled(state, standing, observe)
    ]
    drafts = [draft for draft in _side_by_side(partial(_drafted, state, replaced, observe), due) if draft]
    swapped = [draft for draft in drafts if _done(Staged.swap, observe, draft)]
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


def inspect(state: State) -> None:
    """Look whether another hand changed a file; what is to be restored is pending afterwards.

    What was found is kept aside. With `on_drift: alert` it stays until the registry changes again; a file
    that is gone is put back all the same. A manifest that is gone is due again.
    """
    state.manifest_due |= not os.path.isfile(state.config.require_root() / MANIFEST)  # noqa: PTH113 - never raises
    for standing in state.standings.values():
        if standing.published and not standing.pending:
            try:
                _look_at(state, standing)
            except RegistryError as exc:
                log.warning("not_inspected", registry=standing.name, error=exc.message, hint=exc.hint)


def loses_too_much(before: int, after: int, config: Config) -> bool:
    """Whether the guard must hold: more than its share of the entries, and at least its number, would go at once."""
    lost = before - after
    return lost >= config.guard_min and lost > before * config.guard_share


def _settled(state: State, standing: Standing, observe: Callable[[str], None]) -> bool:
    """Whether there is nothing to write, now."""
    if standing.scan_due:
        return True
    try:
        ours = _ours(state, standing)
        settled = (
            _adopted(state, standing, observe, ours=ours)
            or _guarded(state, standing)
            or _left(state, standing, ours=ours)
        )
        if not (settled or ours):
            _keep(state, standing)
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

    def settle(self) -> None:
        """Take it as published."""
        document = self.standing.registry.document
        self.standing.published = describe(
            document.digests(self.frame), self.file.status, len(document), self.stamp
        )
        self.standing.unread = False
        self.standing.release()


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
    frame = registry.frame(stamp)
    parts = registry.document.parts(frame)
    try:
        file = stage(state.config.require_root(), standing.path, parts, _of(standing, observe))
    except RegistryError as exc:
        standing.hold(Fault(exc.message, exc.hint))
        return None
    return _Draft(standing, replaced.enter_context(file), frame, stamp)


def _done(
    step: Callable[[Staged, Callable[[str], None]], None], observe: Callable[[str], None], draft: _Draft
) -> bool:
    """Take a step with a file; returns whether it could be taken."""
    try:
        step(draft.file, _of(draft.standing, observe))
    except RegistryError as exc:
        draft.standing.hold(Fault(exc.message, exc.hint))
        return False
    return True


def _of(standing: Standing, observe: Callable[[str], None]) -> Callable[[str], None]:
    """Name the registry in the steps of writing it."""
    return lambda step: observe(f"{step} {standing.registry.scanner.name}")


def _adopted(state: State, standing: Standing, observe: Callable[[str], None], *, ours: bool) -> bool:
    """Whether the file already holds it. Then it stays as it is, its `generated_at` included."""
    root, last = state.config.require_root(), standing.published
    if last and ours:
        same = _digests(standing, last.stamp) == last.blocks
        if same:
            standing.release()
        return same
    # Not known as it is: it may be ours all the same, put there by a daemon that was killed before its manifest.
    stamp = drift.stamp_in(root / standing.path)
    blocks = _digests(standing, stamp)
    found = drift.recognised(root, standing.path, blocks)
    if found is None:
        return False
    drift.make_durable(root / standing.path, _of(standing, observe))
    standing.published = describe(blocks, found, len(standing.registry.document), stamp)
    state.manifest_due = True
    standing.release()
    return True


def _ours(state: State, standing: Standing) -> bool:
    """Whether the file is as it was last put there: by its status, and where that is not enough, by reading it."""
    root, last = state.config.require_root(), standing.published
    if last is None or not drift.intact(root, standing.path, last):
        return False
    if standing.unread:
        standing.unread = not drift.rehash(root, standing.path, last)
    return not standing.unread


def _left(state: State, standing: Standing, *, ours: bool) -> bool:
    """Whether another hand's file stays: with `on_drift: alert`, as long as the registry itself is unchanged."""
    last = standing.published
    if state.config.on_drift != "alert" or last is None or ours:
        return False
    if not drift.signature(state.config.require_root() / standing.path):
        return False
    if _digests(standing, last.stamp) != last.blocks:
        return False
    _keep(state, standing)
    standing.fault, standing.guarded, standing.pending = None, False, False
    return True


def _guarded(state: State, standing: Standing) -> bool:
    before, after = standing.published.count if standing.published else 0, len(standing.registry.document)
    if state.accepted or not loses_too_much(before, after, state.config):
        return False
    reason = f"it would lose {before - after} of its {before} entries at once"
    standing.hold(Fault(reason, "look at CMP; if it is meant, run `omnicdc accept`"), guarded=True)
    return True


def _look_at(state: State, standing: Standing) -> None:
    root, last = state.config.require_root(), standing.published
    if last is None or _ours(state, standing):
        return
    if found := drift.recognised(root, standing.path, last.blocks):
        drift.make_durable(root / standing.path)
        standing.published = dataclasses.replace(last, mtime_ns=found.st_mtime_ns, inode=found.st_ino)
    elif state.config.on_drift == "restore" or not drift.signature(root / standing.path):
        # Kept aside when it is rewritten, which the next cycle does.
        standing.pending = True
    else:
        _keep(state, standing)


def _keep(state: State, standing: Standing) -> None:
    """Keep aside a file that is not as it was last published, if there is one; once, however often it is met."""
    root = state.config.require_root()
    if standing.alerted and standing.aside == drift.signature(root / standing.path):
        return
    kept = drift.keep_aside(root, standing.path, state.config.state_dir, datetime.now(UTC))
    standing.alerted, standing.aside = True, drift.signature(root / standing.path)
    if standing.published is not None:
        standing.drifted += 1
        log.warning(
            "drift_found",
            registry=standing.name,
            kept=str(kept) if kept else None,
            on_drift=state.config.on_drift,
        )
    elif kept:
        log.info("replaced_foreign_file", registry=standing.name, kept=str(kept))


def _digests(standing: Standing, stamp: str) -> drift.Blocks:
    return standing.registry.document.digests(standing.registry.frame(stamp))


def _tell_manifest(state: State) -> None:
    registries = {
        standing.path: standing.published for standing in state.standings.values() if standing.published
    }
    config = state.config
    manifest = Manifest(config.consumer, state.generation, state.snapshot, datetime.now(UTC), registries)
    try:
        write_manifest(config.require_root(), manifest)
    except RegistryError as exc:
        # It only helps the next start; the files themselves are durable.
        if state.last_error != str(exc):
            log.warning("manifest_not_written", error=exc.message, hint=exc.hint)
        state.manifest_due, state.last_error, state.last_error_at = True, str(exc), datetime.now(UTC)
    else:
        state.manifest_due, state.last_error, state.last_error_at = False, None, None
