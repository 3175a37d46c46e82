"""The URL key: what repositories are matched by, however their URL was written.

For matching only. The URL that a registry shows stays as CMP has it. Pure, and cheap to import.
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
_USUAL = re.compile(r"https://(?!www\.)[a-z0-9.-]++/[\w./-]*[\w-]", re.ASCII | re.IGNORECASE)
"""What is already as it should be, but for `.git` at its end: most are."""
_END_REVERSED = re.compile(r"(?:[/\s]++|[tT][iI][gG]\.)*+")
"""What is dropped at the end, read backwards: one step for each of megabytes of them."""
_GITHUB = re.compile(r"https://github\.com/([^/]+)/([^/]+)", re.ASCII | re.IGNORECASE)


def url_key(url: str | None) -> str:
    """Return what a repository's URL is matched by; empty for None and for blanks.

    `git@host:`, `ssh://git@`, `http://` and `www.` become `https://host/`; lower case; no blanks
    around, no slashes and no `.git` at the end. Never raises; the key of a key is the key.
    """
    return _cased(url).lower() if url else ""


def github(key: str) -> tuple[str, str] | None:
    """Return owner and name, in lower case, of a URL key that names a repository on GitHub; else None."""
    match = _GITHUB.fullmatch(key)
    return (match[1], match[2]) if match else None


def github_cased(url: str) -> tuple[str, str]:
    """Return owner and name as the URL spells them; both empty for what is not a repository on GitHub."""
    return github(_cased(url)) or ("", "")


def is_excluded(key: str, excluded: Collection[str]) -> bool:
    """Say whether a URL key ends in an excluded `name` (any owner) or `owner/name`."""
    before, _, name = key.rpartition("/")
    return bool(name) and (name in excluded or f"{before.rpartition('/')[2]}/{name}" in excluded)


def trimmed(text: str) -> str:
    """Drop blanks around, and slashes and `.git` at the end, as often as they come.

    Of megabytes of them, too.
    """
    found = _END_REVERSED.match(text[::-1])
    return text[: len(text) - (found.end() if found else 0)].lstrip()


def _cased(url: str) -> str:
    """Bring the ways to write a URL to one, but for the case."""
    if _USUAL.fullmatch(url) and url[-4:].lower() != ".git":
        return url
    text = url.strip()
    head = _HEAD.match(text)
    if head:
        text = f"https://{head['host'] + '/' if head['host'] else ''}{text[head.end() :]}"
    return trimmed(text)
