"""Makes the files hold what the registries should, and only where they do not; the manifest last.

What is to be done is decided in `decide`; what is known of a file is in `registry_file`; `filesystem.atomic`
replaces it.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from omnicdc.errors import RegistryError
from omnicdc.files import drift
from omnicdc.files.contents import content
from omnicdc.files.decide import Adopt, BackUpThenWrite, HoldFor, Keep, Tolerate, Write, decide
from omnicdc.files.manifest import MANIFEST, announce, describe, read_announced, read_manifest
from omnicdc.filesystem.atomic import Staged, discard, no_observer, stage
from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import ExitStack

    from omnicdc.files.decide import Decision, Policy
    from omnicdc.files.manifest import Manifest
    from omnicdc.files.manifest_file import ManifestFile
    from omnicdc.files.registry_file import RegistryFile
    from omnicdc.model import Frame

S = TypeVar("S")
T = TypeVar("T")

_DISK = ThreadPoolExecutor(thread_name_prefix="disk")
"""Started when first needed; for what waits in the kernel, decisions stay in one thread."""


def load_manifest(files: Collection[RegistryFile], manifest_file: ManifestFile) -> Manifest | None:
    """Learn what was published before this start; without a manifest, everything is compared.

    What a killed process left half written is removed: it may be long until the same file is written again.
    """
    root = manifest_file.root
    for path in (MANIFEST, *(Path(file.path) for file in files)):
        discard(root, path)
        drift.discard_half_copy(path.name, manifest_file.state_dir)
    announced, manifest = read_announced(root), read_manifest(root)
    manifest_file.seen = manifest_file.there() if manifest else None
    for file in files:
        file.announced = announced.get(file.path, [])
        file.published = manifest.registries.get(file.path) if manifest else None
        if file.published is None:
            file.entries_on_disk = _entries_in(file)
    return manifest


def inspect(files: Collection[RegistryFile], manifest_file: ManifestFile) -> None:
    """Look whether another process changed a file or the manifest.

    What is to be restored is due afterwards.
    """
    manifest_file.inspect()
    for file in files:
        if not file.projection.dirty:
            try:
                file.inspect()
            except RegistryError:
                file.projection.dirty = True  # the next cycle meets it as well, and holds it


def publish(
    files: Sequence[RegistryFile], policy: Policy, replaced: ExitStack, observe: Callable[[str], None]
) -> Publication:
    """Write every file that differs from its registry.

    All are written and synced side by side, then swapped one after the other, then their directories synced.
    A registry that cannot be written, or that the guard holds, keeps its last good file, has the reason in
    its hold, and stays dirty. The files replaced are freed when `replaced` ends. A repeat writes nothing.
    """
    decisions = [(file, _prepare(file, policy, observe)) for file in files if _is_due(file, policy)]
    differing = [file for file, decision in decisions if isinstance(decision, Write | BackUpThenWrite)]
    drafts = [draft for draft in _side_by_side(partial(_drafted, replaced, observe), differing) if draft]
    ready = [draft for draft in drafts if _backed_up(draft)]
    if ready:
        announce(ready[0].file.root, {file.path: file.announced for file in files if file.announced})
    swapped = [draft for draft in ready if _done(Staged.swap, observe, draft) and _backed_up_late(draft)]
    for draft in swapped:
        draft.mark_renamed()
    synced = _side_by_side(partial(_done, Staged.sync, observe), swapped)
    written = [draft for draft, durable in zip(swapped, synced, strict=True) if durable]
    for draft in written:
        draft.file.mark_durable()
        observe(f"published {draft.file.projection.scanner.name}")
    adopted = any(isinstance(decision, Adopt) for _, decision in decisions)
    return Publication(tuple(draft.file.name for draft in written), adopted=adopted)


@dataclass(frozen=True, slots=True)
class Publication:
    """What was done.

    The names of the registries that were rewritten, and whether others were recognised as right.
    """

    written: tuple[str, ...]
    adopted: bool


def _is_due(file: RegistryFile, policy: Policy) -> bool:
    projection = file.projection
    may_try = policy.accepted or not projection.hold.resting
    return projection.dirty and not projection.scan_due and may_try


def _prepare(file: RegistryFile, policy: Policy, observe: Callable[[str], None]) -> Decision:
    """Decide, and do all of it that writes nothing in the file's place.

    Returns the decision; one that fails is to hold.
    """
    try:
        decision = _decided(file, policy)
        match decision:
            case Keep():
                file.keep()
            case Adopt():
                file.adopt(_of(file, observe))
            case Tolerate():
                file.tolerate()
            case BackUpThenWrite():
                file.back_up()
            case HoldFor(fault, by_guard):
                file.projection.hold.start(fault, by_guard=by_guard)
    except RegistryError as exc:
        fault = Fault(exc.message, exc.hint)
        file.projection.hold.start(fault)
        return HoldFor(fault)
    return decision


def _decided(file: RegistryFile, policy: Policy) -> Decision:
    # What was accepted is what an operator could see held; a loss that came with the acceptance is another
    # one.
    accepted = policy.accepted and file.projection.hold.by_guard
    found = file.look()
    return decide(file.wanted(found), found, replace(policy, accepted=accepted))


@dataclass(frozen=True, slots=True)
class _Draft:
    """A registry's next file, beside the present one."""

    file: RegistryFile
    staged: Staged
    frame: Frame
    stamp: str
    began: float
    """By the monotonic clock, in seconds: when it was begun."""

    def hold(self, error: RegistryError) -> None:
        """Hold the registry for what failed.

        The next attempt writes the file again, so all of this one counts.
        """
        _hold(self.file, error, self.began)

    def mark_renamed(self) -> None:
        """Take it as what readers see."""
        document = self.file.projection.document
        described = describe(document.digests(self.frame), self.staged.status, len(document), self.stamp)
        self.file.mark_renamed(described, self.staged.not_kept)


def _hold(file: RegistryFile, error: RegistryError, began: float) -> None:
    file.projection.hold.start(Fault(error.message, error.hint), took_s=time.monotonic() - began)


def _side_by_side(deed: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Do it to all at once: the first here, the others in threads, which wait for the disk together."""
    others = [_DISK.submit(deed, item) for item in items[1:]]
    try:
        first = [deed(item) for item in items[:1]]
    finally:
        wait(others)  # none of them may still be writing when the next cycle begins
    return [*first, *(other.result() for other in others)]


def _drafted(replaced: ExitStack, observe: Callable[[str], None], file: RegistryFile) -> _Draft | None:
    """Write and sync a registry's next file; None if that failed."""
    began, stamp = time.monotonic(), datetime.now(UTC).isoformat(timespec="microseconds")
    frame = file.projection.frame(stamp)
    parts = file.projection.document.parts(frame)
    try:
        staged = stage(file.root, file.path, parts, _of(file, observe))
    except RegistryError as exc:
        _hold(file, exc, began)
        return None
    return _Draft(file, replaced.enter_context(staged), frame, stamp, began)


def _done(
    step: Callable[[Staged, Callable[[str], None]], None], observe: Callable[[str], None], draft: _Draft
) -> bool:
    """Take a step with a file; returns whether it could be taken."""
    try:
        step(draft.staged, _of(draft.file, observe))
    except RegistryError as exc:
        draft.hold(exc)
        return False
    return True


def _backed_up(draft: _Draft) -> bool:
    """Back up what another process put in the place while the file was written.

    Returns whether that could be done.

    What is there now, and what comes in its place, is known as ours from here on.
    """
    there = drift.signature(draft.file.place)
    try:
        draft.file.back_up_external_change()
    except RegistryError as exc:
        draft.hold(exc)
        return False
    draft.file.announce(there, draft.staged.status)
    return True


def _backed_up_late(draft: _Draft) -> bool:
    """Back up what was put there after that; if it cannot be backed up, it is put back.

    Returns whether it could.
    """
    try:
        draft.file.back_up_replaced(draft.staged.replaced)
    except RegistryError as exc:
        draft.hold(exc)
        _done(Staged.swap, no_observer, draft)
        return False
    return True


def _of(file: RegistryFile, observe: Callable[[str], None]) -> Callable[[str], None]:
    """Name the registry in the steps of writing it."""
    return lambda step: observe(f"{step} {file.projection.scanner.name}")


def _entries_in(file: RegistryFile) -> int:
    """Count the entries of a file that no manifest tells of, for the guard.

    None if it is not laid out as ours.
    """
    with suppress(RegistryError):
        return len(file.projection.scanner.layout.split(content(file.place) or b"").cores)
    return 0
