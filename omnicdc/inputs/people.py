"""What people write: the overrides and the exclusions, each bad entry reported with its line and skipped.

`written.py` turns the YAML into entries; `kept.py` holds on to the last good reading of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from omnicdc.inputs.reading import Reading
from omnicdc.inputs.urls import github, trimmed, url_key
from omnicdc.inputs.written import BadEntry, Fields, content, entries
from omnicdc.model import Override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")


def read_overrides(path: Path) -> Reading[Mapping[str, Override]]:
    """Read the overrides, by URL key; a missing file holds none.

    Raises `RegistryError` where the file cannot be read or is no list of `overrides`.
    """
    return parse_overrides(content(path) or b"", str(path))


def read_exclusions(path: Path) -> Reading[frozenset[str]]:
    """Read the excluded names, in lower case; fails as `read_overrides` does."""
    return parse_exclusions(content(path) or b"", str(path))


def parse_overrides(data: bytes, name: str) -> Reading[Mapping[str, Override]]:
    """As `read_overrides`, of bytes already read from the file `name`; of a key's overrides the last wins."""
    found = _each(data, name, "overrides", _override)
    return Reading({key: override for keys, override in found.value for key in keys}, found.faults)


def parse_exclusions(data: bytes, name: str) -> Reading[frozenset[str]]:
    """As `read_exclusions`, of bytes already read from the file `name`."""
    found = _each(data, name, "exclusions", _excluded)
    return Reading(frozenset(found.value), found.faults)


def _each(data: bytes, name: str, top: str, convert: Callable[[Fields], T]) -> Reading[tuple[T, ...]]:
    values: list[T] = []
    faults: list[str] = []
    for entry in entries(data, name, top):
        try:
            values.append(convert(entry.fields()))
        except BadEntry as bad:
            faults.append(f"{name}:{bad.line}: {bad}; this entry is skipped")
    return Reading(tuple(values), tuple(faults))


def _override(entry: Fields) -> tuple[list[str], Override]:
    urls = [entry.text("github_url") or "", *entry.texts("aliases")]
    keys = [key for key in map(url_key, urls) if key]
    if not keys:
        raise BadEntry("neither github_url nor aliases name a repository", entry.line)
    return keys, Override(entry.texts("local_paths"), entry.text("notes") or None, entry.text("status"))


def _excluded(entry: Fields) -> str:
    """Return `name` or `owner/name`; a whole URL on GitHub is taken as its `owner/name`."""
    repo = entry.text("repo") or ""
    name = "/".join(github(url_key(repo)) or (trimmed(repo).lower(),))
    owner, slash, bare = name.rpartition("/")
    if not bare or bool(slash) != bool(owner) or any(sign in owner for sign in "/:@"):
        raise BadEntry("repo is neither NAME nor OWNER/NAME", entry.line)
    return name
