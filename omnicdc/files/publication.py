"""Writes each registry file that differs from its registry. The manifest is written last, by `pipeline`.

`decide` decides what to do with a file. `registry_file` has what is known about a file. `filesystem.atomic`
replaces a file.
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
from omnicdc.files.check import check_file
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
    from omnicdc.stop import Stop

S = TypeVar("S")
T = TypeVar("T")

_DISK = ThreadPoolExecutor(thread_name_prefix="disk")
"""Threads for disk operations, started when first needed. All decisions stay in the calling thread."""


def load_manifest(files: Collection[RegistryFile], manifest_file: ManifestFile) -> Manifest | None:
    """Load what an earlier process published. Without a manifest, the content of all files is compared.

    This also removes temporary files that a killed process left.
    """
    root = manifest_file.root
    for path in (MANIFEST, *(Path(file.path) for file in files)):
        discard(root, path)
        drift.discard_half_copy(path.name, manifest_file.state_dir)
    announced, manifest = read_announced(root), read_manifest(root)
    manifest_file.known_signature = manifest_file.signature() if manifest else None
    for file in files:
        published = manifest.registries.get(file.path) if manifest else None
        entries = _count_entries(file) if published is None else 0
        file.load(published, announced.get(file.path, []), entries)
    return manifest


def inspect(files: Collection[RegistryFile], manifest_file: ManifestFile) -> None:
    """Check whether another process changed a file or the manifest.

    A registry that must be restored is dirty afterwards; a changed manifest is due.
    """
    manifest_file.inspect()
    for file in files:
        if not file.projection.dirty:
            try:
                file.inspect()
            except RegistryError:
                file.projection.dirty = True  # the next cycle gets the same error, and holds the registry


def publish(
    files: Sequence[RegistryFile],
    policy: Policy,
    replaced: ExitStack,
    observe: Callable[[str], None],
    stop: Stop | None = None,
) -> Publication:
    """Write every file that differs from its registry.

    The new files are written and synced in parallel, then swapped one after the other; then their directories
    are synced in parallel. A registry that cannot be written, or that the guard holds, keeps its last good
    file; its `hold` has the reason, and it stays dirty. The replaced files are removed when `replaced` is
    closed. Raises Interrupted if a stop ends a command that checks a file. A repeat writes nothing.
    """
    due = _unchecked_first([file for file in files if _is_due(file, policy)])
    decisions = [(file, _prepare(file, policy, observe)) for file in due]
    differing = [file for file, decision in decisions if isinstance(decision, Write | BackUpThenWrite)]
    drafts = [
        draft for draft in _in_parallel(partial(_write_draft, replaced, observe, stop), differing) if draft
    ]
    ready = [draft for draft in drafts if _back_up_and_announce(draft)]
    if ready:
        announce(ready[0].file.root, {file.path: file.announced for file in files if file.announced})
    swapped = [
        draft for draft in ready if _run_step(Staged.swap, observe, draft) and _back_up_replaced(draft)
    ]
    for draft in swapped:
        draft.mark_renamed()
    synced = _in_parallel(partial(_run_step, Staged.sync, observe), swapped)
    written = [draft for draft, durable in zip(swapped, synced, strict=True) if durable]
    for draft in written:
        draft.file.mark_durable()
        observe(f"published {draft.file.projection.scanner.name}")
    adopted = any(isinstance(decision, Adopt) for _, decision in decisions)
    return Publication(tuple(draft.file.name for draft in written), adopted=adopted)


def _unchecked_first(files: Sequence[RegistryFile]) -> Sequence[RegistryFile]:
    """Return the files without a check, and those that have waited. The others wait for the next cycle.

    A check may take long, and the other files must not wait for it.
    """
    # One that the guard holds is only decided about, each time; no check runs.
    slow = [file for file in files if file.projection.scanner.validator and not file.projection.hold.by_guard]
    quick = [file for file in files if file not in slow]
    # Nothing waits twice, however much there is to do.
    waited = [file for file in slow if file.projection.waited]
    now = [*quick, *(waited if quick else waited or slow[:1])]
    for file in files:
        if file in now:
            file.projection.mark_writing()
        else:
            file.projection.postpone(scan=False)
    return now


@dataclass(frozen=True, slots=True)
class Publication:
    """The result of `publish`: the names of the rewritten registries, and whether a file was adopted."""

    written: tuple[str, ...]
    adopted: bool


def _is_due(file: RegistryFile, policy: Policy) -> bool:
    projection = file.projection
    may_try = policy.accepted or not projection.hold.backing_off
    return projection.dirty and not projection.scan_due and may_try


def _prepare(file: RegistryFile, policy: Policy, observe: Callable[[str], None]) -> Decision:
    """Decide what to do with a file, and do everything except writing it. Return the decision.

    If this fails, hold the registry and return that decision.
    """
    try:
        decision = _decide(file, policy)
        match decision:
            case Keep():
                file.keep()
            case Adopt():
                file.adopt(_naming(file, observe))
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


def _decide(file: RegistryFile, policy: Policy) -> Decision:
    # The operator accepted a loss that the guard held before. A loss that is new in this cycle is not
    # accepted.
    accepted = policy.accepted and file.projection.hold.by_guard
    found = file.classify()
    return decide(file.wanted(found), found, replace(policy, accepted=accepted))


@dataclass(frozen=True, slots=True)
class _Draft:
    """A registry's next file, written but not swapped yet."""

    file: RegistryFile
    staged: Staged
    frame: Frame
    stamp: str
    began: float
    """Start of the work, by `time.monotonic`."""

    def hold(self, error: RegistryError) -> None:
        """Hold the registry because of this error.

        The duration of the attempt counts from `began`, because the next attempt writes the file again.
        """
        _hold(self.file, error, self.began)

    def mark_renamed(self) -> None:
        """Record that the file was swapped, so that readers see it."""
        document = self.file.projection.document
        described = describe(document.digests(self.frame), self.staged.status, len(document), self.stamp)
        self.file.mark_renamed(described, self.staged.not_kept)


def _hold(file: RegistryFile, error: RegistryError, began: float) -> None:
    file.projection.hold.start(Fault(error.message, error.hint), took_s=time.monotonic() - began)


def _in_parallel(step: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Run `step` for all items in parallel: the first in this thread, the others in threads of `_DISK`."""
    others = [_DISK.submit(step, item) for item in items[1:]]
    try:
        first = [step(item) for item in items[:1]]
    finally:
        wait(others)  # no thread may still write when the next cycle begins
    return [*first, *(other.result() for other in others)]


def _write_draft(
    replaced: ExitStack, observe: Callable[[str], None], stop: Stop | None, file: RegistryFile
) -> _Draft | None:
    """Write and sync a registry's next file. If that fails, hold the registry and return None."""
    began, stamp = time.monotonic(), datetime.now(UTC).isoformat(timespec="microseconds")
    try:
        frame = file.projection.frame(stamp)
        parts = file.projection.document.parts(frame)
        if command := file.projection.scanner.validator:
            check_file(command, file.name, parts, file.state_dir, stop=stop)
        staged = stage(file.root, file.path, parts, _naming(file, observe), mode=file.projection.scanner.mode)
    except RegistryError as exc:
        _hold(file, exc, began)
        return None
    return _Draft(file, replaced.enter_context(staged), frame, stamp, began)


def _run_step(
    step: Callable[[Staged, Callable[[str], None]], None], observe: Callable[[str], None], draft: _Draft
) -> bool:
    """Run a step for a file. If that fails, hold the registry and return False."""
    try:
        step(draft.staged, _naming(draft.file, observe))
    except RegistryError as exc:
        draft.hold(exc)
        return False
    return True


def _back_up_and_announce(draft: _Draft) -> bool:
    """Back up an external change that was made while the next file was written. Then announce both files.

    If the backup fails, hold the registry and return False.
    """
    old_signature = drift.signature(draft.file.full_path)
    try:
        draft.file.back_up_external_change()
    except RegistryError as exc:
        draft.hold(exc)
        return False
    draft.file.announce(old_signature, draft.staged.status)
    return True


def _back_up_replaced(draft: _Draft) -> bool:
    """Back up an external change that was made just before the swap.

    If the backup fails, swap back, hold the registry and return False.
    """
    try:
        draft.file.back_up_replaced(draft.staged.replaced)
    except RegistryError as exc:
        draft.hold(exc)
        _run_step(Staged.swap, no_observer, draft)
        return False
    return True


def _naming(file: RegistryFile, observe: Callable[[str], None]) -> Callable[[str], None]:
    """Return an observer that adds the scanner's name to each step."""
    return lambda step: observe(f"{step} {file.projection.scanner.name}")


def _count_entries(file: RegistryFile) -> int:
    """Count the entries of a file that no manifest describes. The guard uses the count.

    Returns 0 if the file is not laid out as omnicdc writes it, or does not show the keys.
    """
    scanner = file.projection.scanner
    with suppress(RegistryError, ValueError):
        cores = scanner.layout.split(content(file.full_path) or b"").cores
        if not scanner.multiple:
            return len(cores)
        # Several parts of the file may belong to one entry.
        return len({item.entry_key for core in cores if (item := scanner.layout.item(core)).identified})
    return 0
