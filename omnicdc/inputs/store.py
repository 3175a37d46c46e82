"""Reads, caches and refreshes the inputs. People's files are read at once, slow inputs in the background.

Readers use `current`, one immutable object, so they never see half of a change.
"""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from omnicdc.errors import OmnicdcError
from omnicdc.inputs import cache, github, inventory, workspaces
from omnicdc.inputs.clones import clones_below, earlier
from omnicdc.inputs.heart import count_heart
from omnicdc.inputs.overrides import unmatched
from omnicdc.inputs.parts import INVENTORY, InputSettings, Parts, heart_of, loaded, peoples_files
from omnicdc.inputs.reading import Reading
from omnicdc.inputs.shallow import ShallowSearch
from omnicdc.inputs.workspaces import by_root
from omnicdc.model import Inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from omnicdc.inputs.inventory import Elements
    from omnicdc.inputs.last_good import Signature
    from omnicdc.inputs.workspaces import Directory
    from omnicdc.stop import Stop

HARMLESS = ("github", "new owners", "adoption")
"""The kinds of faults that change no registry: see `InputStore.harmless`."""


class InputStore:
    """The inputs of one infrastructure root. Call `load` first; then the other methods as often as needed.

    It is safe for several threads, such as one that reads people's files and one that refreshes in the
    background. Only one process may use a state directory.
    """

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._overrides, self._exclusions = peoples_files(settings)
        self._lock = Lock()
        self._fetching = Lock()
        self._saving = Lock()
        others = earlier(settings.roots)
        self._others = others
        self._searches = [
            ShallowSearch(root, before) for root, before in zip(settings.roots, others, strict=True)
        ]
        self._parts = Parts(Reading({}), Reading(frozenset()), by_root(None, settings.roots), {}, {}, {})
        self._current = Inputs()
        self._adopted: Elements = {}
        self._signatures: tuple[Signature, Signature] = (None, None)
        self._faults: dict[str, tuple[str, ...]] = {}
        self.files_read = 0
        """Number of times that people's files were read again."""

    @property
    def current(self) -> Inputs:
        """The inputs as they were last assembled; empty before `load`."""
        return self._current

    @property
    def faults(self) -> tuple[str, ...]:
        """All faults that a user should fix, as of the last refresh of each input."""
        parts = self._parts
        others = (fault for faults in [*self._faults.values()] for fault in faults)
        return (*parts.overrides.faults, *parts.exclusions.faults, *others)

    @property
    def notices(self) -> tuple[str, ...]:
        """Entries in people's files that may be a mistake."""
        parts = self._parts
        return (*parts.overrides.notices, *parts.exclusions.notices)

    @property
    def harmless(self) -> frozenset[str]:
        """The faults that change no registry: GitHub does not answer, or the adopted inventory had faults."""
        return frozenset(fault for kind in HARMLESS for fault in self._faults.get(kind, ()))

    @property
    def has_entries(self) -> bool:
        """True if people's files have entries."""
        return bool(self._parts.overrides.entries or self._parts.exclusions.entries)

    def unmatched(self, keys: Collection[str]) -> tuple[str, ...]:
        """Return a notice for each entry of people's files that matches none of these URL keys.

        This takes a second at most.
        """
        parts = self._parts
        return (*unmatched(parts.overrides, keys), *unmatched(parts.exclusions, keys))

    @property
    def primed(self) -> bool:
        """True if all workspaces were walked before. If not, call `walk` before the first publication."""
        return all(part.walked is not None for part in self._parts.roots)

    @property
    def asks_github(self) -> bool:
        """True if GitHub is queried: `gh` is enabled, and it is installed or owners are configured."""
        settings = self._settings
        return settings.gh and bool(settings.github_owners or github.is_installed())

    def load(self) -> Inputs:
        """Load the cached inputs and people's files. At the first start, adopt the inventory.

        This is quick: it walks no directory and does not query GitHub. Raises `ConfigError` if the state
        directory cannot be written, or if the inventory exists but cannot be read.
        """
        settings = self._settings
        cache.prepare(settings.state_dir)
        adopted = inventory.adopt(settings.root / INVENTORY, settings.state_dir)
        self._adopted, self._faults = adopted.value, {"adoption": adopted.faults}
        self._signatures = self._read_signatures()
        overrides, exclusions = self._overrides.read_and_keep(), self._exclusions.read_and_keep()
        self._install(lambda _: loaded(settings, overrides, exclusions, adopted.value))
        return self._current

    def reread_people(self) -> Inputs | None:
        """Read people's files again if they were written. Return the new inputs; None if they are equal.

        An invalid file changes only the faults.
        """
        signatures = self._read_signatures()
        if signatures == self._signatures:
            return None
        self._signatures = signatures
        self.files_read += 1
        before = self._parts
        overrides = self._overrides.read_and_keep(before.overrides.value)
        exclusions = self._exclusions.read_and_keep(before.exclusions.value)
        return self._install(lambda parts: replace(parts, overrides=overrides, exclusions=exclusions))

    def refresh(self, stop: Stop, owners: Iterable[str] = ()) -> Inputs | None:
        """Walk the workspaces, then query GitHub. Return the new inputs; None if they are equal.

        If another thread queries GitHub at the same time, this waits for it.
        """
        changed = [self.walk(stop), self.fetch(stop, owners)]
        return self._current if any(changed) else None

    def walk(self, stop: Stop) -> Inputs | None:
        """Search all clones and count heart imports; returns as `refresh`. A stop discards the result."""
        changed = [self.walk_root(number, stop) for number in range(len(self._settings.roots))]
        return self._current if any(changed) else None

    def walk_root(self, number: int, stop: Stop) -> Inputs | None:
        """As `walk`, for one root by its number. If its mount hangs, only this call waits.

        If a stop interrupts it, the result is discarded. Heart imports are counted in the first root only.
        """
        root = self._settings.roots[number]
        directory = self._check_root(number)
        walked = clones_below(root, self._others[number], stop)
        if stop.requested:
            return None
        changed = [self._install(lambda parts: parts.with_root(number, directory, walked=walked))]
        if number == 0:
            changed.append(self._count_heart(stop))
        self._save_workspaces()
        return self._current if any(changed) else None

    def search_root(self, number: int, stop: Stop) -> Inputs | None:
        """Search the upper levels of one root, and check its known clones: `walk_root` in milliseconds.

        Heart imports are counted in new clones only. Only one thread at a time may search a root.
        """
        directory = self._check_root(number)
        before = {path for part in self._parts.roots for path in part.paths()}
        searched = self._searches[number](self._parts.roots[number].paths())
        if searched == self._parts.roots[number].searched:
            return None
        changed = [self._install(lambda parts: parts.with_root(number, directory, searched=searched))]
        new = [path for path in self._parts.roots[number].paths() if path not in before]
        if new:
            counted = heart_of(new, self._settings.root, stop)
            if stop.requested:
                return None
            changed.append(self._install(lambda parts: replace(parts, heart={**parts.heart, **counted})))
        if any(changed):
            self._save_workspaces()
        return self._current if any(changed) else None

    def directories(self, number: int) -> frozenset[str]:
        """Return the directories of a root to watch: a change of its clones changes one of them."""
        search = self._searches[number]
        return search.workspaces | search.git_directories

    def fetch(self, stop: Stop, owners: Iterable[str] = ()) -> Inputs | None:
        """List the repositories of these owners and of the configured ones on GitHub; returns as `refresh`.

        A repository that GitHub no longer lists stays, but is marked as gone. If an owner cannot be listed,
        its repositories stay unchanged. Without `gh` this does nothing; it is a fault only if owners are
        configured.
        """
        everyone = {*self._settings.github_owners, *owners}
        return self._fetch(stop, everyone, "github", {"new owners": ()})

    def fetch_owners(self, stop: Stop, owners: Iterable[str]) -> Inputs | None:
        """As `fetch`, for these owners only. The repositories of other owners stay unchanged."""
        return self._fetch(stop, owners, "new owners", {})

    def _fetch(
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
            return self._install(lambda parts: replace(parts, github=known, repositories=repositories))

    def _count_heart(self, stop: Stop) -> Inputs | None:
        heart = count_heart(self._settings.root, stop)
        return None if stop.requested else self._install(lambda parts: replace(parts, heart=heart))

    def _check_root(self, number: int) -> Directory | None:
        """Record the faults of a root, and return its device and inode. Call this before a search."""
        root = self._settings.roots[number]
        self._faults[str(root)] = workspaces.faults(root, self._parts.roots[number].directory)
        return workspaces.directory(root)

    def _save_workspaces(self) -> None:
        with self._saving:
            parts = self._parts
            found = workspaces.combined(self._settings.roots, parts.roots, parts.heart)
            if found is not None:
                self._faults["cache"] = _fault_of(lambda: workspaces.save(self._settings.state_dir, found))

    def _read_signatures(self) -> tuple[Signature, Signature]:
        return self._overrides.signature(), self._exclusions.signature()

    def _install(self, change: Callable[[Parts], Parts]) -> Inputs | None:
        """Change the parts and assemble `current`. One thread at a time does this, so no change is lost."""
        with self._lock:
            self._parts = change(self._parts)
            inputs = self._parts.assembled()
            if inputs == self._current:
                return None
            self._current = inputs
            return inputs


def _fault_of(save: Callable[[], None]) -> tuple[str, ...]:
    """Save, and return the error as a fault. The inputs stay in force, but a restart would lose them."""
    try:
        save()
    except OmnicdcError as exc:
        return (str(exc),)
    return ()
