"""The URL key: the normal form of a repository's URL, for matching.

A registry shows the URL as CMP has it. This module does no I/O and is quick to import.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_HEAD = re.compile(
    r"git@(?:www\.)*(?!www\.)(?P<host>[^/:@\s]+):/*|(?:https?://|ssh://git@|(?=www\.))(?:www\.)*",
    re.ASCII | re.IGNORECASE,
)
_NORMAL = re.compile(r"https://(?!www\.)[a-z0-9.-]++/[\w./-]*[\w-]", re.ASCII | re.IGNORECASE)
"""URLs that are already normal, except for a `.git` at the end. Most URLs are."""
_END_REVERSED = re.compile(r"(?:[/\s]++|[tT][iI][gG]\.)*+")
"""What is removed at the end, as the reversed text has it: megabytes in one step."""
_GITHUB = re.compile(r"https://github\.com/([^/]+)/([^/]+)", re.ASCII | re.IGNORECASE)


def url_key(url: str | None) -> str:
    """Return the URL key; empty for None and for blanks.

    `git@host:`, `ssh://git@`, `http://` and `www.` become `https://host/`. The key is in lower case, without
    blanks around it, and without slashes or `.git` at its end. Never raises. The key of a key is that key.
    """
    return _key_with_case(url).lower() if url else ""


def github(key: str) -> tuple[str, str] | None:
    """Return owner and name, in lower case, of a URL key that names a repository on GitHub; else None."""
    match = _GITHUB.fullmatch(key)
    return (match[1], match[2]) if match else None


def github_with_case(url: str) -> tuple[str, str]:
    """Return owner and name in the letter case of the URL; both empty if it is no repository on GitHub."""
    return github(_key_with_case(url)) or ("", "")


def is_excluded(key: str, excluded: Collection[str]) -> bool:
    """Return True if a URL key ends in an excluded `name` (of any owner) or `owner/name`."""
    before, _, name = key.rpartition("/")
    return bool(name) and (name in excluded or f"{before.rpartition('/')[2]}/{name}" in excluded)


def names_of(key: str) -> tuple[str, str, str]:
    """Return the names by which an override or an exclusion may name a URL key: itself, name, owner/name."""
    parts = key.rsplit("/", 2)
    return key, parts[-1], "/".join(parts[-2:])


def trimmed(text: str) -> str:
    """Remove blanks around the text, and all slashes and `.git` at its end.

    This is quick even for megabytes of them.
    """
    found = _END_REVERSED.match(text[::-1])
    return text[: len(text) - (found.end() if found else 0)].lstrip()


def _key_with_case(url: str) -> str:
    """Return the URL key before it becomes lower case."""
    if _NORMAL.fullmatch(url) and url[-4:].lower() != ".git":
        return url
    text = url.strip()
    head = _HEAD.match(text)
    if head:
        text = f"https://{head['host'] + '/' if head['host'] else ''}{text[head.end() :]}"
    return trimmed(text)
