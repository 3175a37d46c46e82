"""What people write: the overrides and the exclusions, each bad entry reported with its line and skipped.

`written.py` turns the YAML into entries; `kept.py` holds on to the last valid version of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from omnicdc.inputs.reading import Named, Reading
from omnicdc.inputs.urls import github, trimmed, url_key
from omnicdc.inputs.written import BadEntry, Fields, content, entries
from omnicdc.model import Override

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

T = TypeVar("T")

KEYS = {
    "overrides": ("github_url", "aliases", "local_paths", "notes", "status"),
    "exclusions": ("repo",),
}
"""What has a meaning in an entry of each file."""


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
    keys = {key: override for _, keys, override in found.value for key in keys}
    entries = (Named(f"{name}:{line}", (*keys,)) for line, keys, _ in found.value)
    return Reading(keys, found.faults, found.notices, (*entries,))


def parse_exclusions(data: bytes, name: str) -> Reading[frozenset[str]]:
    """As `read_exclusions`, of bytes already read from the file `name`."""
    found = _each(data, name, "exclusions", _excluded)
    entries = (Named(f"{name}:{line}", (repo,)) for line, repo in found.value)
    return Reading(frozenset(repo for _, repo in found.value), found.faults, found.notices, (*entries,))


def unmatched(reading: Reading[T], keys: Collection[str]) -> tuple[str, ...]:
    """Return a notice for each entry that matches none of these URL keys of CMP's projects."""
    if not reading.entries:
        return ()
    parts = [key.rsplit("/", 2) for key in keys]
    known = {*keys, *(part[-1] for part in parts), *("/".join(part[-2:]) for part in parts)}
    return tuple(
        f"{entry.where}: matches no project in CMP; it has no effect"
        for entry in reading.entries
        if known.isdisjoint(entry.names)
    )


def _each(data: bytes, name: str, top: str, convert: Callable[[Fields], T]) -> Reading[tuple[T, ...]]:
    values: list[T] = []
    faults: list[str] = []
    notices: list[str] = []
    for entry in entries(data, name, top):
        try:
            fields = entry.fields()
            values.append(convert(fields))
        except BadEntry as bad:
            faults.append(f"{name}:{bad.line}: {bad}; this entry is skipped")
        else:
            notices += (f"{name}:{line}: {what}" for line, what in _unknown(fields, top))
    return Reading(tuple(values), tuple(faults), tuple(notices))


def _unknown(fields: Fields, top: str) -> Iterator[tuple[int, str]]:
    """Yield line and words for each key that has no meaning; people add keys of their own to exclusions."""
    for name, line, near in fields.others(KEYS[top]):
        if near or top == "overrides":
            hint = f" (did you mean {near}?)" if near else ""
            yield line, f"unknown key{name and f' {name}'}{hint}; it has no effect"


def _override(entry: Fields) -> tuple[int, list[str], Override]:
    urls = [entry.text("github_url") or "", *entry.texts("aliases")]
    keys = [key for key in map(url_key, urls) if key]
    if not keys:
        raise BadEntry("neither github_url nor aliases name a repository", entry.line)
    return (
        entry.line,
        keys,
        Override(entry.texts("local_paths"), entry.text("notes") or None, entry.text("status")),
    )


def _excluded(entry: Fields) -> tuple[int, str]:
    """Return `name` or `owner/name`; a whole URL on GitHub is taken as its `owner/name`."""
    repo = entry.text("repo") or ""
    name = "/".join(github(url_key(repo)) or (trimmed(repo).lower(),))
    owner, slash, bare = name.rpartition("/")
    if not bare or bool(slash) != bool(owner) or any(sign in owner for sign in "/:@"):
        raise BadEntry("repo is neither NAME nor OWNER/NAME", entry.line)
    return entry.line, name
