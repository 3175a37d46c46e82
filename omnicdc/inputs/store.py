"""The inputs as last read: people's files at once, the slow ones from the background, all of it cached.

Whoever wants them takes `current`, one frozen object; who holds it sees no half of a change.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

from omnicdc.errors import OmnicdcError
from omnicdc.inputs import cache, github, inventory, workspaces
from omnicdc.inputs.clones import clones_below, earlier
from omnicdc.inputs.heart import count_heart, count_heart_of
from omnicdc.inputs.last_good import KeptFile, Signature
from omnicdc.inputs.overrides import parse_exclusions, parse_overrides, unmatched
from omnicdc.inputs.reading import Reading
from omnicdc.inputs.shallow import ShallowLook
from omnicdc.inputs.workspaces import RootClones, by_root, merged
from omnicdc.model import Inputs
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.inputs.inventory import Elements
    from omnicdc.inputs.workspaces import Directory
    from omnicdc.model import Override

HARMLESS = ("github", "new owners", "adoption")
"""Kinds of faults."""

LOOK_PATIENCE_S = 2.0
"""How long `verify` waits for a look at the workspaces."""

_PROJECTS = Path("governance/registry/projects")
_INVENTORY = Path("governance/registry/git_repos/repo_inventory.json")


@dataclass(frozen=True, slots=True)
class InputSettings:
    """Where the inputs are found, and where they are cached."""

    root: Path
    """The infrastructure root."""
    workspaces: tuple[Path, ...]
    """Further workspace roots, in their order; the infrastructure root is walked before them."""
    state_dir: Path
    github_owners: tuple[str, ...]
    """Owners on GitHub whose repositories are listed even where nothing else names them."""
    gh: bool
    """Whether GitHub is asked at all."""

    @classmethod
    def of(cls, config: Config) -> InputSettings:
        """Return what the configuration says; raises ConfigError without a root."""
        return cls(
            config.require_root(), config.workspaces, config.state_dir, config.github_owners, config.gh
        )

    @property
    def roots(self) -> tuple[Path, ...]:
        """All workspace roots, in the order in which they are walked."""
        return (self.root, *self.workspaces)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the inputs are assembled of; each part has one reader that replaces it."""

    overrides: Reading[Mapping[str, Override]]
    exclusions: Reading[frozenset[str]]
    roots: tuple[RootClones, ...]
    heart: Mapping[str, int]
    github: Elements
    repositories: Elements
    """The adopted inventory with `github` over it."""

    def with_root(
        self,
        number: int,
        directory: Directory | None = None,
        *,
        walked: Mapping[str, str] | None = None,
        seen: Mapping[str, str] | None = None,
    ) -> _Parts:
        """Return the same with what was found in one root, and in which directory, if that was anything."""
        roots = list(self.roots)
        before = roots[number]
        root = replace(
            before,
            walked=before.walked if walked is None else walked,
            seen=before.seen if seen is None else seen,
        )
        roots[number] = replace(root, directory=directory) if directory and root.clones() else root
        return replace(self, roots=tuple(roots))

    def assembled(self) -> Inputs:
        return Inputs(
            overrides=self.overrides.value,
            excluded=self.exclusions.value,
            clones=merged(self.roots),
            heart=self.heart,
            repositories=self.repositories,
        )


def read_only(settings: InputSettings) -> Inputs:
    """Return the inputs as a store would load them, for anybody: nothing is written or adopted.

    What cannot be read, or was never found, is empty.
    """
    overrides, exclusions = _peoples_files(settings)
    adopted = inventory.adopted_before(settings.state_dir) or {}
    return _loaded(settings, overrides.read(), exclusions.read(), adopted).assembled()


def read_now(settings: InputSettings, patience_s: float = LOOK_PATIENCE_S) -> tuple[Inputs, bool]:
    """As `read_only`, and look where clones usually lie; returns also whether every workspace root answered.

    Waits no longer than that for a mount that hangs.
    """
    overrides, exclusions = _peoples_files(settings)
    adopted = inventory.adopted_before(settings.state_dir) or {}
    parts = _loaded(settings, overrides.read(), exclusions.read(), adopted)
    found: dict[int, _Look] = {}
    threads = [
        Thread(
            target=lambda number=number: found.update({number: _look(settings, parts, number)}), daemon=True
        )
        for number in range(len(settings.roots))
    ]
    end = time.monotonic() + patience_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    looks = {**found}
    for number, look in looks.items():
        parts = parts.with_root(number, seen=look.seen)
        parts = replace(parts, heart={**parts.heart, **look.heart})
    return parts.assembled(), len(looks) == len(threads)


@dataclass(frozen=True, slots=True)
class _Look:
    seen: Mapping[str, str]
    heart: Mapping[str, int]


def _look(settings: InputSettings, parts: _Parts, number: int) -> _Look:
    """Look at one root for the first time, and count the heart of what is new there."""
    known = parts.roots[number].paths()
    seen = ShallowLook(settings.roots[number], earlier(settings.roots)[number])(known)
    everything = {path for part in parts.roots for path in part.paths()}
    new = [path for path, key in seen.items() if key and path not in everything]
    return _Look(seen, _heart_of(new, settings.root, Stop()))


def _heart_of(clones: Iterable[str], root: Path, stop: Stop) -> Mapping[str, int]:
    counted: dict[str, int] = {}
    for path in clones:
        counted |= count_heart_of(path, root, stop)
    return counted


class InputStore:
    """The inputs of one infrastructure root: `load` first, then as often as you like the others.

    Threads may share it, as one that reads what people write and one that refreshes in the background
    do; the state directory belongs to one process.
    """

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._overrides, self._exclusions = _peoples_files(settings)
        self._lock = Lock()
        self._fetching = Lock()
        self._saving = Lock()
        others = earlier(settings.roots)
        self._others = others
        self._looks = [ShallowLook(root, before) for root, before in zip(settings.roots, others, strict=True)]
        self._parts = _Parts(Reading({}), Reading(frozenset()), by_root(None, settings.roots), {}, {}, {})
        self._current = Inputs()
        self._adopted: Elements = {}
        self._signatures: tuple[Signature, Signature] = (None, None)
        self._faults: dict[str, tuple[str, ...]] = {}
        self.files_read = 0
        """How often people's files were read again."""

    @property
    def current(self) -> Inputs:
        """The inputs as last assembled; empty before `load`."""
        return self._current

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that a person should fix, as of the last reading of each thing."""
        parts = self._parts
        others = (fault for faults in [*self._faults.values()] for fault in faults)
        return (*parts.overrides.faults, *parts.exclusions.faults, *others)

    @property
    def notices(self) -> tuple[str, ...]:
        """What people may have meant otherwise in their files."""
        parts = self._parts
        return (*parts.overrides.notices, *parts.exclusions.notices)

    @property
    def harmless(self) -> frozenset[str]:
        """Those of the faults that change nothing: GitHub does not answer, or an old inventory had flaws."""
        return frozenset(fault for kind in HARMLESS for fault in self._faults.get(kind, ()))

    @property
    def has_entries(self) -> bool:
        """Whether people wrote anything."""
        return bool(self._parts.overrides.entries or self._parts.exclusions.entries)

    def unmatched(self, keys: Collection[str]) -> tuple[str, ...]:
        """Return a notice for each entry of people's files that matches none of these URL keys; at most a second's work."""
        parts = self._parts
        return (*unmatched(parts.overrides, keys), *unmatched(parts.exclusions, keys))

    @property
    def primed(self) -> bool:
        """Whether the workspaces of these settings were ever walked; if not, `walk` before publishing."""
        return all(part.walked is not None for part in self._parts.roots)

    @property
    def asks_github(self) -> bool:
        """Whether there is anything to ask GitHub with."""
        settings = self._settings
        return settings.gh and bool(settings.github_owners or github.is_installed())

    def load(self) -> Inputs:
        """Take what is cached and what people wrote, and at the first start adopt the inventory.

        Quick: walks nothing, and does not ask GitHub. Raises `ConfigError` where the state directory cannot be
        written to, or there is an inventory that cannot be read.
        """
        settings = self._settings
        cache.prepare(settings.state_dir)
        adopted = inventory.adopt(settings.root / _INVENTORY, settings.state_dir)
        self._adopted, self._faults = adopted.value, {"adoption": adopted.faults}
        self._signatures = self._seen()
        overrides, exclusions = self._overrides.read_and_keep(), self._exclusions.read_and_keep()
        self._take(lambda _: _loaded(settings, overrides, exclusions, adopted.value))
        return self._current

    def reread_people(self) -> Inputs | None:
        """Read people's files again if they were written; returns the new inputs, None if they are equal.

        A file that is broken changes nothing but the faults.
        """
        signatures = self._seen()
        if signatures == self._signatures:
            return None
        self._signatures = signatures
        self.files_read += 1
        before = self._parts
        overrides = self._overrides.read_and_keep(before.overrides.value)
        exclusions = self._exclusions.read_and_keep(before.exclusions.value)
        return self._take(lambda parts: replace(parts, overrides=overrides, exclusions=exclusions))

    def refresh(self, stop: Stop, owners: Iterable[str] = ()) -> Inputs | None:
        """Walk the workspaces, then ask GitHub; returns the new inputs, None if they are equal.

        One after the other: who comes while another thread refreshes waits for it.
        """
        changed = [self.walk(stop), self.fetch(stop, owners)]
        return self._current if any(changed) else None

    def walk(self, stop: Stop) -> Inputs | None:
        """Look for clones and the heart anew; as `refresh`. What a stop cut short is forgotten."""
        changed = [self.walk_root(number, stop) for number in range(len(self._settings.roots))]
        return self._current if any(changed) else None

    def walk_root(self, number: int, stop: Stop) -> Inputs | None:
        """As `walk`, of one root by its number, which may hang on its own mount; the heart is counted in the first."""
        root = self._settings.roots[number]
        directory = self._enter(number)
        walked = clones_below(root, self._others[number], stop)
        if stop.requested:
            return None
        changed = [self._take(lambda parts: parts.with_root(number, directory, walked=walked))]
        if number == 0:
            changed.append(self._count_heart(stop))
        self._save_workspaces()
        return self._current if any(changed) else None

    def look_at_root(self, number: int, stop: Stop) -> Inputs | None:
        """Look at the upper levels of one root, and at the clones known there; as `walk_root`, in milliseconds.

        The heart is counted in the clones that are new. One thread at a time a root.
        """
        directory = self._enter(number)
        before = {path for part in self._parts.roots for path in part.paths()}
        seen = self._looks[number](self._parts.roots[number].paths())
        if seen == self._parts.roots[number].seen:
            return None
        changed = [self._take(lambda parts: parts.with_root(number, directory, seen=seen))]
        new = [path for path in self._parts.roots[number].paths() if path not in before]
        if new:
            counted = _heart_of(new, self._settings.root, stop)
            if stop.requested:
                return None
            changed.append(self._take(lambda parts: replace(parts, heart={**parts.heart, **counted})))
        if any(changed):
            self._save_workspaces()
        return self._current if any(changed) else None

    def directories(self, number: int) -> frozenset[str]:
        """Return the directories of a root in which something shows once its clones change."""
        look = self._looks[number]
        return look.workspaces | look.git_directories

    def fetch(self, stop: Stop, owners: Iterable[str] = ()) -> Inputs | None:
        """Ask GitHub for the repositories of these owners and the configured ones; as `walk`.

        What GitHub no longer lists stays, marked as gone; an owner that cannot be listed loses nothing. Without
        `gh` there is nothing to ask, and no fault in that unless owners are configured.
        """
        everyone = {*self._settings.github_owners, *owners}
        return self._fetched(stop, everyone, "github", {"new owners": ()})

    def fetch_owners(self, stop: Stop, owners: Iterable[str]) -> Inputs | None:
        """As `fetch`, of these owners alone, beside what is known of the others."""
        return self._fetched(stop, owners, "new owners", {})

    def _fetched(
        self, stop: Stop, owners: Iterable[str], kind: str, over: Mapping[str, tuple[str, ...]]
    ) -> Inputs | None:
        if not self.asks_github:
            return None
        with self._fetching:
            fetched = github.fetch(owners, stop)
            if stop.requested:
                return None
            known = github.update(self._parts.github, fetched)
            uncached = _fault_of(lambda: github.save(self._settings.state_dir, known))
            self._faults |= {**over, kind: (*fetched.faults, *uncached)}
            repositories = inventory.merge(self._adopted, known)
            return self._take(lambda parts: replace(parts, github=known, repositories=repositories))

    def _count_heart(self, stop: Stop) -> Inputs | None:
        heart = count_heart(self._settings.root, stop)
        return None if stop.requested else self._take(lambda parts: replace(parts, heart=heart))

    def _enter(self, number: int) -> Directory | None:
        """Return which directory a root is before it is looked at, and note what is wrong with it."""
        root = self._settings.roots[number]
        self._faults[str(root)] = workspaces.faults(root, self._parts.roots[number].directory)
        return workspaces.directory(root)

    def _save_workspaces(self) -> None:
        with self._saving:
            parts = self._parts
            found = workspaces.together(self._settings.roots, parts.roots, parts.heart)
            if found is not None:
                self._faults["cache"] = _fault_of(lambda: workspaces.save(self._settings.state_dir, found))

    def _seen(self) -> tuple[Signature, Signature]:
        return self._overrides.signature(), self._exclusions.signature()

    def _take(self, change: Callable[[_Parts], _Parts]) -> Inputs | None:
        """Change parts and publish what they make; one thread at a time, so that no change undoes another."""
        with self._lock:
            self._parts = change(self._parts)
            inputs = self._parts.assembled()
            if inputs == self._current:
                return None
            self._current = inputs
            return inputs


def _peoples_files(
    settings: InputSettings,
) -> tuple[KeptFile[Mapping[str, Override]], KeptFile[frozenset[str]]]:
    where, state = settings.root / _PROJECTS, settings.state_dir
    overrides, exclusions = "LOCAL_OVERRIDES_V1.yaml", "EXCLUSION_LIST_V1.yaml"
    return (
        KeptFile(where / overrides, state / f"last_good_{overrides}", parse_overrides, "overrides"),
        KeptFile(where / exclusions, state / f"last_good_{exclusions}", parse_exclusions, "exclusions"),
    )


def _loaded(
    settings: InputSettings,
    overrides: Reading[Mapping[str, Override]],
    exclusions: Reading[frozenset[str]],
    adopted: Elements,
) -> _Parts:
    found = workspaces.load(settings.state_dir, settings.roots)
    roots, heart = by_root(found, settings.roots), found.heart if found else {}
    known = github.load(settings.state_dir)
    return _Parts(overrides, exclusions, roots, heart, known, inventory.merge(adopted, known))


def _fault_of(save: Callable[[], None]) -> tuple[str, ...]:
    """Save; where that fails the inputs hold all the same, and only a restart would not have them."""
    try:
        save()
    except OmnicdcError as exc:
        return (str(exc),)
    return ()
