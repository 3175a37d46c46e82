"""Finds the kept generation that a user names: a number, `@` for the newest, `@~2` for two before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from omnicdc.files.kept.places import RecordName

FILES = "files"
"""Names the files that are on disk now, instead of a generation."""

FORMS = "a number, @ for the newest, or @~2 for two before it"

_FORM = re.compile(r"(?P<number>[0-9]{1,19})|@(?:~(?P<back>[0-9]{0,6}))?")


@dataclass(frozen=True, slots=True)
class Named:
    """What a user names: a generation, or one registry of it."""

    generation: str
    registry: str = ""


def split(text: str) -> Named:
    """Split GENERATION:REGISTRY."""
    generation, _, registry = text.partition(":")
    return Named(generation, registry)


def resolve(text: str, names: Sequence[RecordName]) -> RecordName:
    """Return the record of a generation. `names` are all records, the oldest first, at least one.

    Raises ConfigError if the text names none, or one that is not kept.
    """
    form = _FORM.fullmatch(text)
    if not form:
        raise ConfigError(f"{text!r} names no generation", hint=f"give {FORMS}")
    if form["number"]:
        found = [name for name in names if name.generation == int(form["number"])]
        if found:
            return found[-1]
        raise ConfigError(f"generation {text} is not kept; {kept_range(names)}", hint=_reason(text, names))
    back = int(form["back"] or "1") if "~" in text else 0
    if back >= len(names):
        raise ConfigError(f"{text} is not kept; {kept_range(names)}", hint="see `keep_generations`")
    return names[-1 - back]


def kept_range(names: Sequence[RecordName]) -> str:
    """Return which generations are kept, for people."""
    oldest, newest = names[0].generation, names[-1].generation
    if len(names) == 1:
        return f"the only one that is kept is {newest}"
    return f"{len(names)} are kept, from {oldest} to {newest}"


def _reason(text: str, names: Sequence[RecordName]) -> str:
    numbers = [name.generation for name in names]
    if int(text) > max(numbers):
        return "`omnicdc show @` shows the newest"
    if int(text) < min(numbers):
        return "to keep more, raise `keep_generations` or `keep_bytes`"
    before = max((number for number in numbers if number < int(text)), default=min(numbers))
    return f"`omnicdc show {before}` shows the one before it"


def path_of(registry: str, paths: Collection[str], scanners: Mapping[str, str]) -> str:
    """Return the path of a registry that is given by its file name, its path, or the name of its scanner.

    `scanners` is the name of each configured scanner to its path. Raises ConfigError if there is none.
    """
    found = [path for path in paths if registry in (path, path.rsplit("/", 1)[-1])]
    if not found and scanners.get(registry) in paths:
        found = [scanners[registry]]
    if not found:
        names = ", ".join(sorted(path.rsplit("/", 1)[-1] for path in paths))
        raise ConfigError(f"there is no registry {registry!r} in it", hint=f"it has {names}")
    return found[0]
