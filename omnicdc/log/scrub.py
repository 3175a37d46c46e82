"""Removes passwords from texts that people will read: log lines, error messages, answers.

It does not import structlog, which `events` needs: programs that use a client import this module.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from omnicdc.formats.text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HIDDEN = "***"
_QUOTED = r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|\\{1,8}'.*?\\{1,8}'|\\{1,8}".*?\\{1,8}\""""
_BARE = r"(?:[^\s&\\]|\\.)+"
_NAMES_SECRET = re.compile(r"(?i)passw|secret|token|credential|api_?key|authorization|_key$")
_LONGEST_PATH = 4096


def names_secret(name: str) -> bool:
    """Whether a variable or an option of this name holds a secret, and not the file that holds it."""
    return bool(_NAMES_SECRET.search(name)) and not name.lower().endswith(("file", "directory", "path"))


def _assigned(found: re.Match[str]) -> str:
    """Return an assignment with its value hidden.

    A path and a colon are no assignment: an error quotes a password's file so, and its reason follows.
    """
    before = found.string[max(0, found.start() - _LONGEST_PATH) : found.start()].split()[-1:]
    is_path = bool(before) and bool(re.fullmatch(r"""['"(`]?/[^:=?&{]*""", before[0]))
    if is_path and re.search(r":\s+$", found[1]) and not found.string[found.start() - 1].isspace():
        return found[0]
    return found[1] + HIDDEN


_SECRETS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    # scheme://user:PASSWORD@host; the last @ before a slash or a blank ends the password
    (re.compile(r"(\w://[^\s/:@]*):[^\s/]*@"), rf"\1:{HIDDEN}@"),
    # an assignment, as in libpq's format, a URI, Python or JSON; below, SQL's `password '…'`
    (
        re.compile(
            rf"""(?is)((?:passw(?:or)?d|client_secret|scram_\w+_key)["']?\s*[=:]\s*)(?:{_QUOTED}|{_BARE})"""
        ),
        _assigned,
    ),
    (re.compile(r"(?i)(\bauthorization\s*:\s*(?:(?:basic|bearer|token)\s+)?)[^\s\"',;]+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?is)(passw(?:or)?d\s+)(?:{_QUOTED})"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:gh[a-z]_|github_pat_)\w+"), HIDDEN),
]


def scrubbed(text: str) -> str:
    """Return `text` without passwords and without terminal control sequences."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return escaped(text, keep="\n\t")


_PLAIN_WORD = re.compile(r"[a-z][a-z_.@-]*|[-/][^=]*|\d+")
"""An argument of a command that can hardly be a secret: a word, an option, a path, a number."""


def hidden_arguments(command: Sequence[str]) -> list[str]:
    """Return the arguments of a command that may be secret, without those that can hardly be."""
    pairs = pairwise(command)
    return [it for before, it in pairs if not _PLAIN_WORD.fullmatch(it) or _wants_secret(before)]


def shown_command(command: Sequence[str]) -> list[str]:
    """Return a command with *** for each argument, or value of an option, that may be secret."""
    hidden = set(hidden_arguments(command))
    return [_shown_argument(it) if place and it in hidden else it for place, it in enumerate(command)]


def _wants_secret(option: str) -> bool:
    return option.startswith("-") and "=" not in option and names_secret(option)


def _shown_argument(given: str) -> str:
    option, assigned, _ = given.partition("=")
    return f"{option}={HIDDEN}" if assigned and re.fullmatch(r"--?[\w-]+", option) else HIDDEN
