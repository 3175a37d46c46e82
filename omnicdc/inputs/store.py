"""The inputs as last read: people's files at once, the slow ones from the background, all of it cached.

Whoever wants them takes `current`, one frozen object; who holds it sees no half of a change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from omnicdc.errors import OmnicdcError
from omnicdc.inputs import cache, github, inventory, workspaces
from omnicdc.inputs.kept import KeptFile, Signature
from omnicdc.inputs.people import parse_exclusions, parse_overrides
from omnicdc.inputs.reading import Reading
from omnicdc.model import Inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from omnicdc.config import Config
    from omnicdc.inputs.inventory import Elements
    from omnicdc.inputs.workspaces import Workspaces
    from omnicdc.model import Override
    from omnicdc.stop import Stop

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
    workspaces: Workspaces | None
    github: Elements
    repositories: Elements
    """The adopted inventory with `github` over it."""

    def assembled(self) -> Inputs:
        return Inputs(
            overrides=self.overrides.value,
            excluded=self.exclusions.value,
            clones=self.workspaces.clones if self.workspaces else {},
            heart=self.workspaces.heart if self.workspaces else {},
            repositories=self.repositories,
        )


def read_only(settings: InputSettings) -> Inputs:
    """Return the inputs as a store would load them, for anybody: nothing is written or adopted.

    What cannot be read, or was never found, is empty.
    """
    overrides, exclusions = _peoples_files(settings)
    adopted = inventory.adopted_before(settings.state_dir) or {}
    return _loaded(settings, overrides.read(), exclusions.read(), adopted).assembled()


class InputStore:
    """The inputs of one infrastructure root: `load` first, then as often as you like the others.

    Threads may share it, as one that reads what people write and one that refreshes in the background
    do; the state directory belongs to one process.
    """

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._overrides, self._exclusions = _peoples_files(settings)
        self._lock = Lock()
        self._refreshing = Lock()
        self._parts = _Parts(Reading({}), Reading(frozenset()), None, {}, {})
        self._current = Inputs()
        self._adopted: Elements = {}
        self._signatures: tuple[Signature, Signature] = (None, None)
        self._faults: dict[str, tuple[str, ...]] = {}

    @property
    def current(self) -> Inputs:
        """The inputs as last assembled; empty before `load`."""
        return self._current

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that a person should mend, as of the last reading of each thing."""
        parts = self._parts
        others = (fault for faults in [*self._faults.values()] for fault in faults)
        return (*parts.overrides.faults, *parts.exclusions.faults, *others)

    @property
    def primed(self) -> bool:
        """Whether the workspaces of these settings were ever walked; if not, `walk` before publishing."""
        return self._parts.workspaces is not None

    def load(self) -> Inputs:
        """Take what is cached and what people wrote, and at the first start adopt the inventory.

        Quick: walks nothing, asks nobody. Raises `ConfigError` where the state directory cannot be
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
        with self._refreshing:
            return self._walk(stop)

    def fetch(self, stop: Stop, owners: Iterable[str] = ()) -> Inputs | None:
        """Ask GitHub for the repositories of these owners and the configured ones; as `walk`.

        What GitHub no longer lists stays, marked as gone; an owner that cannot be listed loses nothing. Without
        `gh` there is nothing to ask, and no fault in that unless owners are configured.
        """
        settings = self._settings
        if not settings.gh or not (settings.github_owners or github.is_installed()):
            return None
        with self._refreshing:
            return self._fetch(stop, {*settings.github_owners, *owners})

    def _walk(self, stop: Stop) -> Inputs | None:
        roots = self._settings.roots
        found = workspaces.explore(roots, stop)
        if found is None:
            return None
        uncached = _fault_of(lambda: workspaces.save(self._settings.state_dir, found))
        self._faults["workspaces"] = (*workspaces.unreadable(roots), *uncached)
        return self._take(lambda parts: replace(parts, workspaces=found))

    def _fetch(self, stop: Stop, owners: Iterable[str]) -> Inputs | None:
        fetched = github.fetch(owners, stop)
        if stop.requested:
            return None
        known = github.update(self._parts.github, fetched)
        uncached = _fault_of(lambda: github.save(self._settings.state_dir, known))
        self._faults["github"] = (*fetched.faults, *uncached)
        repositories = inventory.merge(self._adopted, known)
        return self._take(lambda parts: replace(parts, github=known, repositories=repositories))

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
        KeptFile(where / overrides, state / f"last_good_{overrides}", parse_overrides),
        KeptFile(where / exclusions, state / f"last_good_{exclusions}", parse_exclusions),
    )


def _loaded(
    settings: InputSettings,
    overrides: Reading[Mapping[str, Override]],
    exclusions: Reading[frozenset[str]],
    adopted: Elements,
) -> _Parts:
    found = workspaces.load(settings.state_dir, settings.roots)
    known = github.load(settings.state_dir)
    return _Parts(overrides, exclusions, found, known, inventory.merge(adopted, known))


def _fault_of(save: Callable[[], None]) -> tuple[str, ...]:
    """Save; where that fails the inputs hold all the same, and only a restart would not have them."""
    try:
        save()
    except OmnicdcError as exc:
        return (str(exc),)
    return ()
