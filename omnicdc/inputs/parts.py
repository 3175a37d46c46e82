"""The parts of the inputs, the paths of each part, and how the inputs are assembled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.inputs import github, inventory, workspaces
from omnicdc.inputs.heart import count_heart_of
from omnicdc.inputs.last_good import KeptFile
from omnicdc.inputs.overrides import parse_exclusions, parse_overrides
from omnicdc.inputs.workspaces import RootClones, by_root, merged
from omnicdc.model import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.inputs.inventory import Elements
    from omnicdc.inputs.reading import Reading
    from omnicdc.inputs.workspaces import Directory
    from omnicdc.model import Override
    from omnicdc.stop import Stop

PROJECTS = Path("governance/registry/projects")
INVENTORY = Path("governance/registry/git_repos/repo_inventory.json")


@dataclass(frozen=True, slots=True)
class InputSettings:
    """The paths and settings of the inputs."""

    root: Path
    """The infrastructure root."""
    workspaces: tuple[Path, ...]
    """Further workspace roots, in their order. The infrastructure root comes before them."""
    state_dir: Path
    github_owners: tuple[str, ...]
    """Owners on GitHub whose repositories are listed even if no project names them."""
    gh: bool
    """False: never run `gh`."""

    @classmethod
    def of(cls, config: Config) -> InputSettings:
        """Return the settings in the configuration. Raises ConfigError if it has no root."""
        return cls(
            config.require_root(), config.workspaces, config.state_dir, config.github_owners, config.gh
        )

    @property
    def roots(self) -> tuple[Path, ...]:
        """All workspace roots, in their order. The first is the infrastructure root."""
        return (self.root, *self.workspaces)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the inputs. Each part is replaced as a whole."""

    overrides: Reading[Mapping[str, Override]]
    exclusions: Reading[frozenset[str]]
    roots: tuple[RootClones, ...]
    heart: Mapping[str, int]
    github: Elements
    repositories: Elements
    """The adopted inventory, updated by `github`."""

    def with_root(
        self,
        number: int,
        directory: Directory | None = None,
        *,
        walked: Mapping[str, str] | None = None,
        searched: Mapping[str, str] | None = None,
    ) -> Parts:
        """Return a copy with new clones of one root. If there are any, `directory` is recorded."""
        roots = list(self.roots)
        before = roots[number]
        root = replace(
            before,
            walked=before.walked if walked is None else walked,
            searched=before.searched if searched is None else searched,
        )
        roots[number] = replace(root, directory=directory) if directory and root.clones() else root
        return replace(self, roots=tuple(roots))

    def assembled(self) -> Inputs:
        """Assemble the inputs for the registries."""
        return Inputs(
            overrides=self.overrides.value,
            excluded=self.exclusions.value,
            clones=merged(self.roots),
            heart=self.heart,
            repositories=self.repositories,
        )


def peoples_files(
    settings: InputSettings,
) -> tuple[KeptFile[Mapping[str, Override]], KeptFile[frozenset[str]]]:
    """Return the files of the overrides and of the exclusions."""
    where, state = settings.root / PROJECTS, settings.state_dir
    overrides, exclusions = "LOCAL_OVERRIDES_V1.yaml", "EXCLUSION_LIST_V1.yaml"
    return (
        KeptFile(where / overrides, state / f"last_good_{overrides}", parse_overrides, "overrides"),
        KeptFile(where / exclusions, state / f"last_good_{exclusions}", parse_exclusions, "exclusions"),
    )


def loaded(
    settings: InputSettings,
    overrides: Reading[Mapping[str, Override]],
    exclusions: Reading[frozenset[str]],
    adopted: Elements,
) -> Parts:
    """Return the cached parts together with these overrides, exclusions and adopted inventory."""
    found = workspaces.load(settings.state_dir, settings.roots)
    roots, heart = by_root(found, settings.roots), found.heart if found else {}
    known = github.load(settings.state_dir)
    return Parts(overrides, exclusions, roots, heart, known, inventory.merge(adopted, known))


def heart_of(clones: Iterable[str], root: Path, stop: Stop) -> Mapping[str, int]:
    """Count the heart imports of these clones; keys are their paths in lower case."""
    counted: dict[str, int] = {}
    for path in clones:
        counted |= count_heart_of(path, root, stop)
    return counted
