"""repo_inventory.json: one element a repository, and which projects use it.

omnicdc owns `uuid` and `uuids`, and the whole element where CMP alone vouches for the repository;
all else comes from GitHub or the inventory adopted at the first start, unknown fields included.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from omnicdc.emit import json_text
from omnicdc.inputs.urls import github, github_cased, url_key
from omnicdc.model import Entry
from omnicdc.scanners.scanner import Frame, Row, Scanner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from omnicdc.model import Inputs

_KNOWN = ("description", "name", "owner", "updatedAt", "url", "visibility")


class Git(Scanner):
    """Scanner `git`; needs the repositories' metadata and the adopted inventory."""

    name = "git"
    path = "governance/registry/git_repos/repo_inventory.json"
    rank = 30
    query = """
        select id, name::text, metadata_ ->> 'github_url' as github_url
          from {table}
    """
    grouped = True

    def key(self, row: Row) -> str:
        """Return the URL key; empty for what is not a repository on GitHub."""
        key = url_key(row[2])
        return key if github(key) else ""

    def view(self, inputs: Inputs, key: str) -> str:
        """Return the repository's element, as text that can be compared."""
        return json.dumps(inputs.repositories.get(key), default=str)

    def standing(self, inputs: Inputs) -> Iterable[str]:
        """Return every repository known without CMP."""
        return inputs.repositories

    def render(self, unit: str, rows: Sequence[Row], inputs: Inputs) -> Entry | None:
        """Return the repository's element; None if neither CMP nor GitHub nor the inventory knows it."""
        users = sorted(rows, key=lambda row: (row[1] or "", row[0] or ""))
        if unit in inputs.repositories:
            element = _complete(unit, inputs.repositories[unit])
        elif users:
            element = _vouched_by_cmp(users[0])
        else:
            return None
        ids = [str(row[0]) for row in users]
        if ids:
            element["uuid"] = ids[0]
        if len(ids) > 1:
            element["uuids"] = ids
        text = _usual(element) or json.dumps(element, indent=4, ensure_ascii=False, allow_nan=False)
        indented = text.replace("\n", "\n    ")  # no line feed inside a JSON string is raw
        return Entry((unit, ""), f"    {indented},\n".encode())

    def frame(self, count: int, tally: tuple[int, ...], stamp: str) -> Frame:  # noqa: ARG002 - a bare list
        """Return the brackets; this registry has no header."""
        return Frame(b"[\n", b"\n]", separator=b",\n") if count else Frame(b"[]", b"")


def _vouched_by_cmp(row: Row) -> dict[str, Any]:
    owner, name = github_cased(row[2] or "")
    return {
        "description": None,
        "name": name,
        "owner": {"id": "", "login": owner},
        "updatedAt": None,
        "url": f"https://github.com/{owner}/{name}",
        "visibility": "unknown",
    }


def _complete(unit: str, found: Mapping[str, Any]) -> dict[str, Any]:
    owner, _name = github(unit) or ("", "")
    fallback: dict[str, Any] = {"owner": {"id": "", "login": owner}, "visibility": "unknown"}
    element = {field: found.get(field, fallback.get(field)) for field in _KNOWN}
    return element | {field: value for field, value in found.items() if field not in _KNOWN}


def _usual(element: Mapping[str, Any]) -> str | None:
    """Emit the common shape directly; None for any other (the library needs 30 times as long)."""
    owner = element["owner"]
    texts = [element[field] for field in ("description", "name", "updatedAt", "url", "visibility")]
    if (
        len(element) - ("uuid" in element) != len(_KNOWN)
        or not isinstance(owner, dict)
        or [*owner] != ["id", "login"]
    ):
        return None
    if not all(text is None or isinstance(text, str) for text in (*texts, *owner.values())):
        return None
    description, name, updated_at, url, visibility = map(json_text, texts)
    uuid = f',\n    "uuid": "{element["uuid"]}"' if "uuid" in element else ""
    return (
        f'{{\n    "description": {description},\n    "name": {name},\n'
        f'    "owner": {{\n        "id": {json_text(owner["id"])},\n        "login": {json_text(owner["login"])}\n    }},\n'
        f'    "updatedAt": {updated_at},\n    "url": {url},\n    "visibility": {visibility}{uuid}\n}}'
    )


SCANNER = Git()
