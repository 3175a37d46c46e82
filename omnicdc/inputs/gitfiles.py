"""Reads a clone's remote `origin` from its files, because running git for hundreds of clones is slow.

The syntax is that of git-config(1), "Syntax". Includes and `url.*.insteadOf` are ignored: only the URL in the
clone is used.
"""

from __future__ import annotations

import os.path
import re

_LIMIT = 1 << 20
_SECTION = re.compile(r'\[\s*([\w.-]+)(?:[ \t]+"((?:[^"\\\n]|\\.)*)")?\s*\]')
_NAME = re.compile(r"([A-Za-z][\w-]*)[ \t]*(=?)[ \t]*")
_COMMENT = re.compile(r"[;#][^\n]*")
_PIECE = re.compile(r'(?P<quote>")|\\(?P<escaped>[\s\S])|(?P<comment>[;#][^\n]*)|(?P<plain>[^"\\;#\n])')
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "\n": ""}


def origin(clone: str) -> str | None:
    """Return the first URL of a clone's remote `origin`, unchanged; None if there is none."""
    return origin_url(_read(config_file(clone)) or "")


def config_file(clone: str) -> str:
    """Return the path of the configuration file of a clone and its worktrees. The file may be missing."""
    directory = _git_directory(clone)
    common = (_read(_joined(directory, "commondir")) or "").strip()
    return _joined(directory, common, "config")


def origin_url(config: str) -> str | None:
    """As `origin`, but from the text of the configuration file."""
    section, at = "", 0
    while at < len(config):
        if config[at].isspace():
            at += 1
        elif match := _COMMENT.match(config, at):
            at = match.end()
        elif match := _SECTION.match(config, at):
            section, at = _section(match), match.end()
        elif match := _NAME.match(config, at):
            value, at = _value(config, match.end()) if match[2] else ("", match.end())
            if section == "remote.origin" and match[1].lower() == "url" and value:
                return value
        else:
            return None
    return None


def _section(match: re.Match[str]) -> str:
    """Return `name.subsection`. Only a quoted subsection is case-sensitive."""
    name, quoted = match[1].lower(), match[2]
    return name if quoted is None else name + "." + _ESCAPED.sub(r"\1", quoted)


def _value(config: str, at: int) -> tuple[str, int]:
    """Return the value that begins at `at`, and the position of its end.

    Quotes and escapes are resolved. A comment and the blanks at the end are removed. A backslash at the end
    of a line continues the line.
    """
    value, kept, quoted = "", 0, False
    while match := _PIECE.match(config, at):
        if match["comment"] and not quoted:
            at = match.end()
            break
        if match["quote"]:
            quoted, at = not quoted, match.end()
            kept = len(value)
            continue
        at += 1 if match["comment"] else len(match[0])
        piece = match["plain"] or (match["comment"] or "")[:1]
        value += piece or _ESCAPES.get(match["escaped"], match["escaped"])
        if quoted or not piece.isspace():
            kept = len(value)
    return value[:kept], at


def _git_directory(clone: str) -> str:
    """Return the git directory of a clone. In worktrees and submodules, `.git` is a file that names it."""
    dot_git = _joined(clone, ".git")
    named = _read(dot_git) or ""
    return _joined(clone, named.removeprefix("gitdir:").strip()) if named.startswith("gitdir:") else dot_git


def _joined(*parts: str) -> str:
    """Join paths as git does: a later part may be absolute, or contain `..`."""
    return os.path.join(*parts)  # noqa: PTH118 - called for each clone, and Path is slow


def _read(path: str) -> str | None:
    """Return a file's text; None if it is not a regular file or cannot be read."""
    if not os.path.isfile(path):  # noqa: PTH113 - opening a pipe would wait for a writer
        return None
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:  # noqa: PTH123
            return file.read(_LIMIT)
    except OSError:
        return None
