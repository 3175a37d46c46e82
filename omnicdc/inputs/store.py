"""The inputs as last read: people's files at once, the slow ones from the background, all of it cached.

Whoever wants them takes `current`, one frozen object; who holds it sees no half of a change.
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
from omnicdc.inputs.shallow import ShallowLook
from omnicdc.inputs.workspaces import by_root
from omnicdc.model import Inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from omnicdc.inputs.inventory import Elements
    from omnicdc.inputs.last_good import Signature
    from omnicdc.inputs.workspaces import Directory
    from omnicdc.stop import Stop

HARMLESS = ("github", "new owners", "adoption")
"""Kinds of faults."""


class InputStore:
    """The inputs of one infrastructure root: `load` first, then as often as you like the others.

    Threads may share it, as one that reads what people write and one that refreshes in the background
    do; the state directory belongs to one process.
    """

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._overrides, self._exclusions = peoples_files(settings)
        self._lock = Lock()
        self._fetching = Lock()
        self._saving = Lock()
        others = earlier(settings.roots)
        self._others = others
        self._looks = [ShallowLook(root, before) for root, before in zip(settings.roots, others, strict=True)]
        self._parts = Parts(Reading({}), Reading(frozenset()), by_root(None, settings.roots), {}, {}, {})
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
        """Return a notice for each entry of people's files that matches none of these URL keys.

        At most a second's work.
        """
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

        Quick: walks nothing, and does not ask GitHub. Raises `ConfigError` where the state directory cannot
        be written to, or there is an inventory that cannot be read.
        """
        settings = self._settings
        cache.prepare(settings.state_dir)
        adopted = inventory.adopt(settings.root / INVENTORY, settings.state_dir)
        self._adopted, self._faults = adopted.value, {"adoption": adopted.faults}
        self._signatures = self._seen()
        overrides, exclusions = self._overrides.read_and_keep(), self._exclusions.read_and_keep()
        self._take(lambda _: loaded(settings, overrides, exclusions, adopted.value))
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
        """As `walk`, of one root by its number, which may hang on its own mount.

        The heart is counted in the first.
        """
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
        """Look at the upper levels of one root, and at its known clones; as `walk_root`, in milliseconds.

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
            counted = heart_of(new, self._settings.root, stop)
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

        What GitHub no longer lists stays, marked as gone; an owner that cannot be listed loses nothing.
        Without `gh` there is nothing to ask, and no fault in that unless owners are configured.
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

    def _take(self, change: Callable[[Parts], Parts]) -> Inputs | None:
        """Change parts and publish what they make; one thread at a time, so that no change undoes another."""
        with self._lock:
            self._parts = change(self._parts)
            inputs = self._parts.assembled()
            if inputs == self._current:
                return None
            self._current = inputs
            return inputs


def _fault_of(save: Callable[[], None]) -> tuple[str, ...]:
    """Save; where that fails the inputs hold all the same, and only a restart would not have them."""
    try:
        save()
    except OmnicdcError as exc:
        return (str(exc),)
    return ()
