"""Parses people's files: overrides and exclusions. An invalid entry is reported with its line, and skipped.

`yaml_source` turns the YAML into entries; `last_good` keeps the last valid version of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from omnicdc.formats.urls import github, trimmed, url_key
from omnicdc.inputs.reading import Named, Reading, without_match
from omnicdc.inputs.yaml_source import BadEntry, Fields, content, entry_list
from omnicdc.model import Override

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

T = TypeVar("T")

KEYS = {
    "overrides": ("github_url", "aliases", "local_paths", "notes", "status"),
    "exclusions": ("repo",),
}
"""The keys that have a meaning in an entry of each file."""

LONGEST_KEY = 200
"""Longest URL key that a notice quotes, in characters."""


def read_overrides(path: Path) -> Reading[Mapping[str, Override]]:
    """Read the overrides, by URL key. A missing file means no overrides.

    Raises `RegistryError` if the file cannot be read or has no list `overrides`.
    """
    return parse_overrides(content(path) or b"", str(path))


def read_exclusions(path: Path) -> Reading[frozenset[str]]:
    """Read the excluded names, in lower case. Raises errors as `read_overrides` does."""
    return parse_exclusions(content(path) or b"", str(path))


def parse_overrides(data: bytes, name: str) -> Reading[Mapping[str, Override]]:
    """As `read_overrides`, from the bytes of the file `name`. If a key has two overrides, the last wins."""
    found = _each(data, name, "overrides", _override)
    keys = {key: override for _, keys, override in found.value for key in keys}
    entries = (Named(f"{name}:{line}", (*keys,)) for line, keys, _ in found.value)
    notices = (*found.notices, *_overridden(name, [(line, keys) for line, keys, _ in found.value]))
    return Reading(keys, found.faults, notices, (*entries,), blank=found.blank)


def _overridden(name: str, overrides: Iterable[tuple[int, list[str]]]) -> Iterator[str]:
    """Yield a notice for each override of a repository that an earlier entry overrides too.

    For this repository only the later entry is used.
    """
    first: dict[str, int] = {}
    for line, keys in overrides:
        for key in dict.fromkeys(keys):
            if key in first and _quotable(key):
                yield f"{name}:{line}: overrides {key} as line {first[key]} does; this entry counts"
            elif key in first:
                yield f"{name}:{line}: overrides the same repository as line {first[key]}; this entry counts"
            first[key] = line


def _quotable(key: str) -> bool:
    return key.isprintable() and len(key) <= LONGEST_KEY


def parse_exclusions(data: bytes, name: str) -> Reading[frozenset[str]]:
    """As `read_exclusions`, from the bytes of the file `name`."""
    found = _each(data, name, "exclusions", _excluded)
    entries = (Named(f"{name}:{line}", (repo,)) for line, repo in found.value)
    excluded = frozenset(repo for _, repo in found.value)
    return Reading(excluded, found.faults, found.notices, (*entries,), blank=found.blank)


def unmatched(reading: Reading[T], keys: Collection[str]) -> tuple[str, ...]:
    """Return a notice for each entry that matches none of these URL keys of CMP's projects."""
    if not reading.entries:
        return ()
    return tuple(
        f"{entry.where}: matches no project in CMP; it has no effect"
        for entry in without_match(reading.entries, keys)
    )


def _each(data: bytes, name: str, top: str, convert: Callable[[Fields], T]) -> Reading[tuple[T, ...]]:
    values: list[T] = []
    faults: list[str] = []
    found = entry_list(data, name, top)
    notices = [f"{name}:{line}: {what}" for line, what in _unknown(found.others, top)]
    for entry in found.entries:
        try:
            fields = entry.fields()
            values.append(convert(fields))
        except BadEntry as bad:
            faults.append(f"{name}:{bad.line}: {bad}; this entry is skipped")
        else:
            notices += (f"{name}:{line}: {what}" for line, what in _unknown(fields.others(KEYS[top]), top))
    return Reading(tuple(values), tuple(faults), tuple(notices), blank=found.blank)


def _unknown(others: Iterable[tuple[str, int, str]], top: str) -> Iterator[tuple[int, str]]:
    """Yield line and text for each key without a meaning.

    In exclusions only misspelled keys are reported, because people add keys of their own there.
    """
    for name, line, near in others:
        if near or top == "overrides":
            hint = f" (did you mean {near}?)" if near else ""
            yield line, f"unknown key{name and f' {name}'}{hint}; it has no effect"


def _override(entry: Fields) -> tuple[int, list[str], Override]:
    urls = [entry.text("github_url") or "", *entry.texts("aliases")]
    keys = [key for key in map(url_key, urls) if key]
    if not keys:
        raise BadEntry(
            f"neither github_url nor aliases name a repository{_misspelling(entry, 'overrides')}", entry.line
        )
    return (
        entry.line,
        keys,
        Override(entry.texts("local_paths"), entry.text("notes") or None, entry.text("status")),
    )


def _excluded(entry: Fields) -> tuple[int, str]:
    """Return the line, and `name` or `owner/name`. A URL on GitHub becomes its `owner/name`."""
    repo = entry.text("repo") or ""
    name = "/".join(github(url_key(repo)) or (trimmed(repo).lower(),))
    owner, slash, bare = name.rpartition("/")
    if not bare or bool(slash) != bool(owner) or any(sign in owner for sign in "/:@"):
        raise BadEntry(f"repo is neither NAME nor OWNER/NAME{_misspelling(entry, 'exclusions')}", entry.line)
    return entry.line, name


def _misspelling(entry: Fields, top: str) -> str:
    """Return a text that names a key of the entry that may be misspelled; empty if there is none."""
    texts = (
        f" (key {name}: did you mean {near}?)" for name, _, near in entry.others(KEYS[top]) if near and name
    )
    return next(texts, "")
