"""Whose file stands in a registry's place: ours, put there by this daemon or one before it, or another hand's.

Ours is adopted where it holds what it should; another hand's is kept aside, or left. `publication` replaces it; what
the file system tells of a file is in `drift`.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from omnicdc.errors import RegistryError
from omnicdc.files import drift
from omnicdc.files.manifest import MANIFEST, describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from omnicdc.state import Standing, State

log = structlog.get_logger()


def inspect(state: State) -> None:
    """Look whether another hand changed a file; what is to be restored is pending afterwards.

    What was found is kept aside. With `on_drift: alert` it stays until the registry changes again; a file
    that is gone is put back all the same. A manifest that is not as it was put there is due again.
    """
    state.manifest_due |= state.manifest_seen is None or manifest_there(state) != state.manifest_seen
    for standing in state.standings.values():
        if standing.published and not standing.pending:
            try:
                _look_at(state, standing)
            except RegistryError:
                standing.pending = True  # the next cycle meets it as well, and holds it


def as_put(state: State, standing: Standing) -> bool:
    """Whether the file is as it was last put there: by its status, and where that is not enough, by reading it."""
    root, last = state.config.require_root(), standing.unsynced or standing.published
    if last is None or not drift.intact(root, standing.path, last):
        return False
    if standing.unread:
        standing.unread = not drift.rehash(root, standing.path, last)
    return not standing.unread


def foreign(state: State, standing: Standing) -> bool:
    """Whether the file is another hand's. Raises RegistryError."""
    return not (as_put(state, standing) or announced(state, standing))


def announced(state: State, standing: Standing) -> bool:
    """Whether the file is ours, although the manifest does not tell of it: put there by one who was then killed."""
    root, last = state.config.require_root(), standing.published
    if last and drift.intact(root, standing.path, last):
        return False  # it tells of it: only reading the file showed that it was edited
    found = drift.signature(root / standing.path)
    return found is not None and found in state.announced.get(standing.path, ())


def adopt(state: State, standing: Standing, observe: Callable[[str], None], *, ours: bool) -> bool:
    """Take a file that holds what it should, if it does; returns whether. It stays as it is, its `generated_at` included.

    `ours` says that it is as it was last put there. What a killed daemon may not have synced is synced: `observe` is
    told. Raises RegistryError.
    """
    root, last = state.config.require_root(), standing.published
    if standing.unsynced:
        return False
    if last and ours:
        same = _digests(standing, last.stamp) == last.blocks
        if same:
            # The manifest's count may be anybody's.
            standing.published = dataclasses.replace(last, count=len(standing.registry.document))
            standing.release()
        return same
    # Not known as it is: it may be ours all the same, put there by a daemon that was killed before its manifest.
    stamp = drift.stamp_in(root / standing.path)
    blocks = _digests(standing, stamp)
    found = drift.recognised(root, standing.path, blocks)
    if found is None:
        return False
    standing.unsynced = describe(blocks, found, len(standing.registry.document), stamp)
    drift.make_durable(root / standing.path, observe)
    state.manifest_due = True
    standing.lasts()
    return True


def leave(state: State, standing: Standing) -> bool:
    """Let another hand's file stay, if it may; returns whether: with `on_drift: alert`, while the registry is unchanged.

    It is kept aside as well. Raises RegistryError if that cannot be done.
    """
    last = standing.published
    if state.config.on_drift != "alert" or last is None:
        return False
    if not drift.signature(state.config.require_root() / standing.path):
        return False
    if _digests(standing, last.stamp) != last.blocks:
        return False
    keep(state, standing)
    standing.fault, standing.guarded, standing.pending = None, False, False
    return True


def keep(state: State, standing: Standing) -> None:
    """Keep aside a file that is not as it was last published, if there is one; once, however often it is met.

    Raises RegistryError.
    """
    root = state.config.require_root()
    seen = drift.signature(root / standing.path)
    if standing.alerted and standing.aside == seen:
        return
    kept = drift.keep_aside(root, standing.path, state.config.state_dir, datetime.now(UTC))
    # As it was before it was copied: what came since is another.
    standing.alerted, standing.aside = True, drift.signature(root / standing.path) and seen
    _say(state, standing, kept)


def keep_replaced(state: State, standing: Standing, replaced: Path) -> None:
    """Keep aside what a swap brought out, if another hand put it there after the last look. Raises RegistryError."""
    seen = drift.signature(replaced)
    if seen is None or seen in state.announced[standing.path]:
        return
    root, state_dir = state.config.require_root(), state.config.state_dir
    _say(
        state,
        standing,
        drift.keep_aside(root, standing.path, state_dir, datetime.now(UTC), now_at=replaced),
    )


def _say(state: State, standing: Standing, kept: Path | None) -> None:
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


def manifest_there(state: State) -> tuple[int, int, int] | None:
    """Return size, time and inode of the manifest; None if there is none."""
    return drift.signature(state.config.require_root() / MANIFEST)


def _look_at(state: State, standing: Standing) -> None:
    root, last = state.config.require_root(), standing.published
    if last is None or as_put(state, standing):
        return
    put_back = drift.recognised(root, standing.path, last.blocks)
    if put_back or state.config.on_drift == "restore" or not drift.signature(root / standing.path):
        # The next cycle syncs what was put back, and keeps aside what it rewrites.
        standing.pending = True
    else:
        keep(state, standing)


def _digests(standing: Standing, stamp: str) -> drift.Blocks:
    return standing.registry.document.digests(standing.registry.frame(stamp))
