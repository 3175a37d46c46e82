"""Two kinds of versions of the registries: a kept generation, and the files that are on disk now."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from omnicdc.answers.kept.reference import FILES, resolve
from omnicdc.files.contents import content
from omnicdc.files.kept.reading import KeptGenerations
from omnicdc.files.manifest import read_manifest
from omnicdc.registries.catalog import registries

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from omnicdc.config.settings import Config
    from omnicdc.files.kept.places import RecordName
    from omnicdc.files.kept.record import KeptGeneration

Blocks = tuple[tuple[int, str], ...]
"""Length and SHA-256 of each block of a file: header, entries, footer."""


class Version(Protocol):
    """The registries at one moment."""

    @property
    def title(self) -> str:
        """How people call it."""

    @property
    def files(self) -> Mapping[str, Blocks]:
        """The file's path below the root, to its blocks."""

    def data(self, path: str, wanted: Collection[str] | None = None) -> list[tuple[str, bytes]]:
        """Return digest and bytes of the blocks of a file, in order: of all, or those with these digests.

        Raises RegistryError or ConfigError if they cannot be read.
        """


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A kept generation."""

    store: KeptGenerations
    name: RecordName
    kept: KeptGeneration

    @property
    def title(self) -> str:
        """How people call it."""
        return f"generation {self.kept.number}"

    @property
    def files(self) -> Mapping[str, Blocks]:
        """The file's path below the root, to its blocks."""
        return {path: published.blocks for path, published in self.kept.manifest.registries.items()}

    def data(self, path: str, wanted: Collection[str] | None = None) -> list[tuple[str, bytes]]:
        """Read blocks, and check their digests."""
        blocks = self.files[path]
        chosen = [block for block in blocks if wanted is None or block[1] in wanted]
        return list(self.store.blocks(self.name, chosen, what=path.rsplit("/", 1)[-1]))


@dataclass(frozen=True, slots=True)
class PresentFiles:
    """The files on disk, cut into blocks where the manifest says so."""

    root: Path
    parts: Mapping[str, list[tuple[str, bytes]]]

    @property
    def title(self) -> str:
        """How people call it."""
        return "files"

    @property
    def files(self) -> Mapping[str, Blocks]:
        """The file's path below the root, to its blocks."""
        return {
            path: tuple((len(data), digest) for digest, data in parts) for path, parts in self.parts.items()
        }

    def data(self, path: str, wanted: Collection[str] | None = None) -> list[tuple[str, bytes]]:
        """Return blocks that were read already."""
        return [part for part in self.parts[path] if wanted is None or part[0] in wanted]


def kept_version(config: Config, text: str) -> KeptVersion:
    """Return the kept generation that a user names. Raises ConfigError."""
    store = KeptGenerations(config.state_dir, off=not config.keep_generations)
    name = resolve(text, store.names)
    return KeptVersion(store, name, store.read(name))


def version(config: Config, text: str) -> Version:
    """Return what a user names: a kept generation, or `files`. Raises ConfigError and RegistryError."""
    return present_files(config) if text == FILES else kept_version(config, text)


def present_files(config: Config) -> PresentFiles:
    """Read all registries below the root. Raises ConfigError without a root, and RegistryError."""
    root = config.require_output_directory()
    manifest = read_manifest(root)
    published = manifest.registries if manifest else {}
    paths = dict.fromkeys([*published, *(scanner.path for scanner in registries(config).values())])
    found = {path: data for path in paths if (data := content(root / path)) is not None}
    return PresentFiles(
        root,
        {
            path: _cut(data, published[path].blocks if path in published else ())
            for path, data in found.items()
        },
    )


def _cut(data: bytes, blocks: Blocks) -> list[tuple[str, bytes]]:
    """Cut a file's bytes as these blocks are; leave them whole if they have another length."""
    lengths = [length for length, _ in blocks]
    if sum(lengths) != len(data):
        lengths = [len(data)]
    parts, at = [], 0
    for length in lengths:
        part = data[at : at + length]
        parts.append((sha256(part).hexdigest(), part))
        at += length
    return parts
