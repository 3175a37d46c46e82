"""Checks of what identifies a project: its name, key, URL and id; and of its status and type. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from omnicdc.clients.migration.facts import IDENTIFYING, by_value
from omnicdc.clients.validation.findings import Place, finding
from omnicdc.formats.urls import github

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.clients.validation.context import Context
    from omnicdc.clients.validation.findings import Finding

DEFAULT_ID = "00000000-0000-0000-0000-000000000001"
"""The default project, which is no repository. It is in CMP on purpose."""

_PLACEHOLDER = re.compile(r"([0-9a-f])\1{7}-\1{4}-\1{4}-\1{4}-\1{12}|0{8}-0{4}-0{4}-0{4}-0{10}[0-9a-f]{2}")
"""All digits alike, or a small number."""

_URL = re.compile(r"https://[a-z0-9.-]+\.[a-z]{2,}/\S+")


def duplicates(context: Context) -> Iterator[Finding]:
    """Yield the names, keys and URLs that several projects share."""
    for kind, what, of in IDENTIFYING:
        for value, projects in sorted(by_value(context.projects.values(), of).items()):
            if len(projects) > 1:
                yield finding(
                    kind,
                    Place(projects[0].uuid, projects[0].name, "CMP"),
                    f"{len(projects)} projects have the {what} {value}",
                    "give each its own, or retire all but one: omnicdc archive PROJECT",
                    found=sorted(one.uuid for one in projects),
                )


def urls(context: Context) -> Iterator[Finding]:
    """Yield the URLs that name no repository, and those that are not on GitHub."""
    for one in context.projects.values():
        if not one.github_url:
            continue
        key, place = context.keys[one.uuid], Place(one.uuid, one.name, "CMP")
        if _URL.fullmatch(key) is None:
            yield finding(
                "bad_url",
                place,
                "github_url is not the URL of a repository",
                "set it to https://github.com/OWNER/NAME, or remove it",
                found=one.github_url,
            )
        elif github(key) is None:
            yield finding(
                "foreign_url",
                place,
                "github_url is not a repository on GitHub, so it has no place in the inventory",
                "nothing, if that is meant",
                found=one.github_url,
            )
        elif one.github_url != one.github_url.strip():
            yield finding(
                "bad_url",
                place,
                "github_url has blanks around it",
                "set it without the blanks",
                expected=one.github_url.strip(),
                found=one.github_url,
                repairable=True,
            )


def ids(context: Context) -> Iterator[Finding]:
    """Yield the ids that a project shares with an agent, and those that look like placeholders."""
    for uuid, one in context.projects.items():
        place = Place(uuid, one.name, "CMP")
        if uuid in context.agents:
            yield finding(
                "shared_id", place, "a project and an agent have this id",
                "create one of the two anew: an id in CMP is never changed", found=uuid,
            )  # fmt: skip
        if uuid != DEFAULT_ID and _PLACEHOLDER.fullmatch(uuid):
            yield finding(
                "placeholder_id", place, "the id looks like a placeholder",
                "create the project anew: an id in CMP is never changed", found=uuid,
            )  # fmt: skip


def vocabulary(context: Context) -> Iterator[Finding]:
    """Yield the statuses and types that are not among the configured ones."""
    for uuid, one in context.projects.items():
        for kind, value, known in (
            ("unknown_status", one.status, context.statuses),
            ("unknown_type", one.type, context.types),
        ):
            if value is not None and value not in known:
                yield finding(
                    kind,
                    Place(uuid, one.name, "CMP"),
                    f"{kind.removeprefix('unknown_')} {value} is not one of the known ones",
                    f"use one of {', '.join(sorted(known))}, or name it to the client",
                    expected=sorted(known),
                    found=value,
                )
