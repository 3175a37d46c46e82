"""Makes changes for projects that are selected by what CMP says of them. No I/O."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from omnicdc.clients.migration.changes import UUID, Change
from omnicdc.errors import ConfigError
from omnicdc.formats.urls import github, url_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.clients.migration.facts import Facts

SELECTABLE = ("name", "key", "type", "status", "domain", "github_url", "owner")
"""What a selection may ask for. `owner` is the owner on GitHub, without case."""

Selection = Mapping[str, str | None] | Iterable[str]
"""Either values that must be equal, such as `{"status": "active", "owner": "acme"}`; or names and UUIDs."""


def selected(projects: Iterable[Facts], selection: Selection) -> list[Facts]:
    """Return the selected projects. Raises ConfigError for a key, a name or a UUID that is not known."""
    if isinstance(selection, Mapping):
        return _equal(projects, selection)
    names = [selection] if isinstance(selection, str) else list(selection)
    everything = list(projects)
    return [one for name in names for one in _named(everything, name)]


def one_project(projects: Iterable[Facts], name: str) -> Facts:
    """Return the project with this name, key or UUID. Raises ConfigError if there is none, or several."""
    found = _named(list(projects), name)
    if len(found) > 1:
        uuids = ", ".join(sorted(one.uuid for one in found))
        raise ConfigError(f"{len(found)} projects are named {name!r}: {uuids}", hint="give the UUID")
    return found[0]


def with_owner(projects: Iterable[Facts], old: str, new: str) -> list[Change]:
    """Return the changes that move repositories to another owner on GitHub: URL, and key if it names it.

    The form of each URL is kept. Projects of other owners are left out.
    """
    return [change for one in projects if (change := _moved(one, old.lower(), new))]


def with_value(projects: Iterable[Facts], field: str, value: Any) -> list[Change]:  # noqa: ANN401 - any JSON value
    """Return the changes that set one field of each project to a value."""
    return [Change(one.uuid, {field: value}) for one in projects]


def _equal(projects: Iterable[Facts], wanted: Mapping[str, str | None]) -> list[Facts]:
    for name in wanted:
        if name not in SELECTABLE:
            near = difflib.get_close_matches(str(name), SELECTABLE, n=1) or SELECTABLE
            raise ConfigError(f"a selection cannot ask for {name!r:.50}", hint=f"use {', '.join(near)}")
    tests: dict[str, Callable[[Facts], str | None]] = {
        name: _owner if name == "owner" else lambda one, name=name: getattr(one, name)  # type: ignore[misc]
        for name in wanted
    }
    values = {name: value.lower() if name == "owner" and value else value for name, value in wanted.items()}
    return [one for one in projects if all(tests[name](one) == value for name, value in values.items())]


def _named(projects: list[Facts], name: str) -> list[Facts]:
    if UUID.fullmatch(str(name).strip().lower()):
        found = [one for one in projects if one.uuid == str(name).strip().lower()]
    else:
        found = [one for one in projects if one.name == name] or [one for one in projects if one.key == name]
    if not found:
        raise ConfigError(f"no project in CMP is named {name!r:.100}", hint="names are case sensitive")
    return found


def _owner(one: Facts) -> str | None:
    repository = github(url_key(one.github_url))
    return repository[0] if repository else None


def _moved(one: Facts, old: str, new: str) -> Change | None:
    if _owner(one) != old:
        return None
    url = _replaced(rf"(github\.com[/:]+){re.escape(old)}(?=/)", new, one.github_url or "")
    values: dict[str, Any] = {"metadata_.github_url": url}
    key = _replaced(rf"^(github:){re.escape(old)}(?=/)", new, one.key or "")
    return Change(one.uuid, values | ({"key": key} if key != (one.key or "") else {}))


def _replaced(pattern: str, new: str, text: str) -> str:
    return re.sub(pattern, lambda found: found[1] + new, text, count=1, flags=re.IGNORECASE)
