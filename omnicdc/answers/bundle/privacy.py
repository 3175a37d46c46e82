"""Removes from a text what must not leave the host: passwords, and what CMP says about projects. No I/O.

A collector leaves out what it knows to be private. This is the second line: it also finds a password that a
library quotes, and a project's name in an error message.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from omnicdc.log.scrub import HIDDEN, scrubbed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROJECT, UUID, ADDRESS = "(project)", "(uuid)", "(repository)"

SHORTEST_SECRET = 4
"""A shorter password is not looked for, as it is a part of many words. The collectors show none anyway."""
SHORTEST_NAME = 3
"""The same of the name of a project."""

_UUID = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")
_REPOSITORY = re.compile(
    r"(?:https?://(?:[^/\s@]*@)?|ssh://(?:[^/\s@]*@)?|\w+@)[\w.-]*git[\w.-]*[/:][^\s\"',;)]+"
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Privacy:
    """What is private on this host."""

    secrets: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    """The names of the projects."""
    _by_word: Mapping[str, list[str]] = field(init=False, repr=False, compare=False)
    _secret: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare the search."""
        by_word = defaultdict(list)
        for name in sorted(self.names, key=len, reverse=True):
            if len(name) >= SHORTEST_NAME and (word := _WORD.search(name)):
                by_word[word[0]].append(name)
        forms = {form for it in self.secrets if len(it) >= SHORTEST_SECRET for form in _forms(it)}
        longest_first = sorted(forms, key=len, reverse=True)
        object.__setattr__(self, "_by_word", by_word)
        object.__setattr__(
            self, "_secret", re.compile("|".join(map(re.escape, longest_first))) if forms else None
        )

    def clean(self, text: str) -> str:
        """Return a text without secrets and without the names, keys and repositories of projects."""
        if self._secret:
            text = self._secret.sub(HIDDEN, text)
        text = _UUID.sub(UUID, _REPOSITORY.sub(ADDRESS, scrubbed(text)))
        return self._without_names(text) if self._by_word else text

    def clean_value(self, value: object) -> object:
        """Return a value for JSON in which every text is clean. Keys are names of ours; they stay."""
        if isinstance(value, dict):
            return {str(key): self.clean_value(it) for key, it in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean_value(it) for it in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.clean(str(value))

    def _without_names(self, text: str) -> str:
        parts, end = [], 0
        for word in _WORD.finditer(text):
            if word.start() < end:
                continue
            for name in self._by_word.get(word[0], ()):
                start = word.start() - name.index(word[0])
                stop = start + len(name)
                if start >= end and text.startswith(name, start) and not text[stop : stop + 1].isalnum():
                    parts += [text[end:start], PROJECT]
                    end = stop
                    break
        return "".join([*parts, text[end:]])


def _forms(secret: str) -> Iterable[str]:
    """Return how a secret may be written: as it is, in a URI, in JSON, in a connection string."""
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield secret.replace("\\", "\\\\").replace("'", "\\'")


EVENT_KEYS = frozenset(
    [
        "timestamp",
        "level",
        "event",
        "generation",
        "changes",
        "projects",
        "scanners",
        "registries",
        "ms",
        "held",
        "quarantined",
        "registry",
        "count",
        "lasted_s",
        "failure",
        "consumer",
        "database",
        "pooled",
        "sources",
        "root",
        "on_drift",
        "kept",
        "was",
        "error",
        "reason",
        "hint",
        "fault",
        "sqlstate",
        "logger",
        "message",
        "exception",
    ]
)
"""The keys of a log event that a bundle shows."""

ABOUT_PROJECTS = ("quarantine", "input_", "hook_")
"""Events whose reason quotes CMP, a file that people write, or a command's output. It is not shown."""


def event_shown(line: str) -> str:
    """Return a line of the journal; if it ends with a log event, without what may be private in it."""
    head, brace, rest = line.partition("{")
    if not brace:
        return line
    try:
        event = json.loads(brace + rest)
    except ValueError:
        return line
    if not isinstance(event, dict):
        return line
    shown = {key: value for key, value in event.items() if key in EVENT_KEYS}
    if str(event.get("event", "")).startswith(ABOUT_PROJECTS):
        shown = {
            key: shown[key] for key in ("timestamp", "level", "event", "registry", "count") if key in shown
        }
    return head + json.dumps(shown, ensure_ascii=False)
