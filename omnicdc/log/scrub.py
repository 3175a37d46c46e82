"""Removes passwords from texts that people will read: log lines, error messages, answers.

It does not import structlog, which `events` needs: programs that use a client import this module.
"""

from __future__ import annotations

import re

from omnicdc.formats.text import escaped

HIDDEN = "***"
_QUOTED = r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|\\{1,8}'.*?\\{1,8}'|\\{1,8}".*?\\{1,8}\""""
_BARE = r"(?:[^\s&\\]|\\.)+"
_SECRETS = [
    # scheme://user:PASSWORD@host; the last @ before a slash or a blank ends the password
    (re.compile(r"(\w://[^\s/:@]*):[^\s/]*@"), rf"\1:{HIDDEN}@"),
    # an assignment, as in libpq's format, a URI, Python or JSON; below, SQL's `password '…'`
    (
        re.compile(
            rf"""(?is)((?:passw(?:or)?d|client_secret|scram_\w+_key)["']?\s*[=:]\s*)(?:{_QUOTED}|{_BARE})"""
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"(?is)(passw(?:or)?d\s+)(?:{_QUOTED})"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:gh[a-z]_|github_pat_)\w+"), HIDDEN),
]


def scrubbed(text: str) -> str:
    """Return `text` without passwords and without terminal control sequences."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return escaped(text, keep="\n\t")
