"""repo_inventory.json: one element for each repository, with the projects that use it.

omnicdc writes `uuid` and `uuids`, and the whole element if only CMP knows the repository. All other fields,
including unknown ones, come from GitHub or from the inventory that was adopted at the first start. `source`
is the last key of an element that GitHub does not list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnicdc.formats import inventory
from omnicdc.formats.urls import github, github_with_case, url_key
from omnicdc.inputs.inventory import CMP, GONE, SOURCE
from omnicdc.registries.origin import Origin, of_cmp
from omnicdc.registries.scanner import OTHERS, Row, Scanner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from omnicdc.model import Entry, Frame, Inputs

_KNOWN = ("description", "name", "owner", "updatedAt", "url", "visibility")


class Git(Scanner):
    """Scanner `git`. Of the inputs it needs the repositories: GitHub's metadata and the adopted inventory."""

    name = "git"
    path = "governance/registry/git_repos/repo_inventory.json"
    check = "in_repo_inventory"
    genesis_name = "git_registry"
    rank = 30
    layout = inventory.Elements()
    query = """
        select id, name::text, metadata_ ->> 'github_url' as github_url
          from {projects}
    """
    grouped = True
    named = False

    def key(self, row: Row) -> str:
        """Return the URL key; empty if it is not a repository on GitHub."""
        key = url_key(row[2])
        return key if github(key) else ""

    def inputs_for(self, inputs: Inputs, key: str) -> str:
        """Return the repository's element, as text that can be compared."""
        return repr(inputs.repositories.get(key))

    def static_keys(self, inputs: Inputs) -> Iterable[str]:
        """Return the URL keys of all repositories that are known without CMP."""
        return inputs.repositories

    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry | None:
        """Return the repository's element; None if neither CMP nor GitHub nor the inventory knows it."""
        users = sorted(rows, key=lambda row: (row[1] or "", row[0] or "")) if len(rows) > 1 else rows
        known = inputs.repositories.get(entry_key)
        if known is not None:
            element = _complete(entry_key, known)
        elif users:
            element = _known_by_cmp_only(users[0])
        else:
            return None
        if users:
            element["uuid"] = users[0][0]
        if len(users) > 1:
            element["uuids"] = [row[0] for row in users]
        if known is None:
            element[SOURCE] = CMP
        elif known.get(SOURCE) == GONE:
            element[SOURCE] = element.pop(SOURCE)
        return inventory.entry(entry_key, element)

    def origins(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Mapping[str, Origin]:  # noqa: ARG002 - by the URL key
        """Return where each value comes from: the projects from CMP, the rest from GitHub's metadata."""
        projects = dict.fromkeys(("uuid", "uuids"), of_cmp("id"))
        if entry_key in inputs.repositories:
            return {**projects, OTHERS: Origin("repository")}
        named = dict.fromkeys(("name", "owner", "url"), of_cmp("metadata_.github_url"))
        return {**projects, **named, OTHERS: Origin("omnicdc", "only CMP knows the repository")}

    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:  # noqa: ARG002 - a bare list
        """Return the brackets; this registry has no header."""
        return inventory.frame(count)


def _known_by_cmp_only(row: Row) -> dict[str, Any]:
    owner, name = github_with_case(row[2] or "")
    return {
        "description": None,
        "name": name,
        "owner": {"id": "", "login": owner},
        "updatedAt": None,
        "url": f"https://github.com/{owner}/{name}",
        "visibility": "unknown",
    }


def _complete(entry_key: str, found: Mapping[str, Any]) -> dict[str, Any]:
    owner, _name = github(entry_key) or ("", "")
    fallback: dict[str, Any] = {"owner": {"id": "", "login": owner}, "visibility": "unknown"}
    element = {field: found.get(field, fallback.get(field)) for field in _KNOWN}
    return element | {field: value for field, value in found.items() if field not in _KNOWN}


SCANNER = Git()
