"""Checks of the files of a registry host: registries, people's files, clones and manifests. No I/O."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from omnicdc.clients.validation.delivery import is_repairable, remedy, with_hold
from omnicdc.clients.validation.findings import Place, finding
from omnicdc.formats.urls import github, url_key
from omnicdc.inputs.inventory import GONE, SOURCE
from omnicdc.inputs.reading import place_of, without_match

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.clients.migration.facts import Facts
    from omnicdc.clients.validation.context import Context, Files
    from omnicdc.clients.validation.findings import Finding
    from omnicdc.formats.item import Item
    from omnicdc.verify.audit import Compared
    from omnicdc.verify.difference import EntryDifference, Side

IDLE = ("archived", "snapshot")
"""Projects of these statuses need no directory on a host."""


def registries(context: Context) -> Iterator[Finding]:
    """Yield what differs between each registry and CMP, entry by entry."""
    files = _files(context)
    for compared in files.compared.values():
        report, difference = compared.report, compared.report.difference
        repairs = is_repairable(files, report.registry)
        if report.status == "unreadable":
            # Without a difference CMP itself cannot be read; a rebuild would not help.
            repairs_file = repairs and difference is not None
            yield finding(
                "registry_differs", Place(where=report.registry),
                with_hold(files, report.detail, report.registry),
                remedy(files, report.registry) if difference else report.hint, repairable=repairs_file,
            )  # fmt: skip
        for entry in difference.entries if difference else ():
            yield _differing(context, compared, entry)
        for name, (expected, found) in difference.header.items() if difference else ():
            yield finding(
                "registry_differs", Place(where=report.registry),
                with_hold(files, f"its header has another {name}", report.registry),
                remedy(files, report.registry), expected=expected, found=found, repairable=repairs,
            )  # fmt: skip


def disagreements(context: Context) -> Iterator[Finding]:
    """Yield the projects that a registry shows and the mirror of CMP does not, or shows with another URL.

    Registries agree on all entries that are as CMP has them. So only the projects are compared of which one
    of the files has another entry.
    """
    files = _files(context)
    shown = [
        Shown(it) for it in files.compared.values()
        if it.registry.scanner.builtin and it.registry.scanner.source == "projects"
        if it.present and it.report.difference and not it.report.difference.fault
    ]  # fmt: skip
    mirror = next((it for it in shown if not it.registry.scanner.uses_inputs), None)
    differing = dict.fromkeys(project for it in shown for project in it.differing)
    if mirror is None:
        return
    for it in (other for other in shown if other is not mirror):
        for project in differing:
            url, expected = it.url_of(project), mirror.url_of(project)
            if url is not None and url != expected:
                known, name = context.projects.get(project), mirror.registry.name
                what = f"{name} does not have the project" if expected is None else f"{name} has another URL"
                yield finding(
                    "registries_disagree",
                    Place(project, known.name if known else None, it.registry.name),
                    with_hold(files, what, it.registry.name, name), remedy(files, it.registry.name, name),
                    expected=expected, found=url, repairable=is_repairable(files, it.registry.name, name),
                )  # fmt: skip


class Shown:
    """What one registry file of projects shows of the projects, by its comparison with CMP."""

    def __init__(self, compared: Compared) -> None:
        self.registry = compared.registry
        entries = compared.report.difference.entries if compared.report.difference else ()
        self.differing: dict[str, str | None] = {}
        """The projects of entries that are not as CMP has them, to the URL keys that the file shows."""
        for entry in entries:
            self.differing |= dict.fromkeys(self._projects(entry.expected))
        for entry in entries:
            if entry.found:
                item = entry.found.item
                self.differing |= dict.fromkeys(item.projects, self._url(item))

    def url_of(self, project: str) -> str | None:
        """Return the URL key that the file shows of a project, empty for none; None if it has no entry."""
        if project in self.differing:
            return self.differing[project]
        key = self.registry.entry_key_of(project)
        data = self.registry.document.get(key) if key else None
        if data is None:
            return None
        layout = self.registry.scanner.layout
        return self._url(layout.item(layout.core(data)))

    def _projects(self, side: Side | None) -> tuple[str, ...]:
        return side.item.projects if side else ()

    def _url(self, item: Item) -> str:
        if self.registry.scanner.grouped:
            return item.entry_key
        url = item.fields.get("github_url")
        return url_key(url) if isinstance(url, str) else ""


def _differing(context: Context, compared: Compared, entry: EntryDifference) -> Finding:
    side = entry.expected or entry.found
    projects = side.item.projects if side else ()
    project = projects[0] if projects else None
    known = context.projects.get(project or "")
    what = (
        "the entry is missing" if entry.found is None
        else "the entry should not be there" if entry.expected is None
        else f"{', '.join(entry.fields)}: not as CMP has it"
    )  # fmt: skip
    return finding(
        "registry_differs",
        Place(project, known.name if known else None, compared.report.registry),
        with_hold(context.files, f"{entry.entry_key}: {what}", compared.report.registry),
        remedy(context.files, compared.report.registry),
        expected={name: pair[0] for name, pair in entry.fields.items()} or None,
        found={name: pair[1] for name, pair in entry.fields.items()} or None,
        repairable=is_repairable(context.files, compared.report.registry),
    )


def paths(context: Context) -> Iterator[Finding]:
    """Yield the `local_paths` of active projects that are missing on this host."""
    files = _files(context)
    for uuid, one in context.projects.items():
        key = context.keys[uuid]
        override = files.inputs.overrides.get(key)
        status = (override.status if override and override.status else one.status) or "active"
        if status in IDLE or not key:
            continue
        for path in override.local_paths if override else ():
            if path in files.missing_paths:
                where = place_of(files.overrides, key)
                yield finding(
                    "missing_path", Place(uuid, one.name, where), "the local path is missing on this host",
                    f"git clone {shlex.quote(one.github_url or '')} {shlex.quote(path)}; "
                    "or correct the override, or archive the project", found=path,
                )  # fmt: skip


def people(context: Context) -> Iterator[Finding]:
    """Yield the overrides and exclusions that match no project."""
    files = _files(context)
    keys = {*context.keys.values()} - {""}
    for what, entries in (("override", files.overrides), ("exclusion", files.exclusions)):
        for entry in without_match(entries, keys):
            yield finding(
                "useless_entry", Place(where=entry.where), f"the {what} matches no project in CMP",
                "correct it or remove it", found=", ".join(entry.names),
            )  # fmt: skip


def inventory(context: Context) -> Iterator[Finding]:
    """Yield the repositories that no project uses, that GitHub no longer lists, or that only CMP knows."""
    files = _files(context)
    used = {key: context.projects[uuid] for uuid, key in context.keys.items() if key}
    for key, element in files.inputs.repositories.items():
        one = used.get(key)
        place = Place(one.uuid if one else None, one.name if one else None, key)
        if one is None:
            yield finding(
                "unused_repository", place, "no project in CMP has this repository",
                "create a project for it, or nothing if that is meant",
            )  # fmt: skip
        if element.get(SOURCE) == GONE:
            yield finding(
                "gone_repository", place, "GitHub does not list this repository any more",
                "correct github_url in CMP, or archive the project",
            )  # fmt: skip
    for compared in files.compared.values():
        if compared.registry.scanner.grouped:
            # The inputs hold what GitHub lists, or listed. Of any other repository only CMP knows.
            shown = compared.registry.document.entry_keys() & used.keys()
            for key in sorted(shown - files.inputs.repositories.keys()):
                yield finding(
                    "unlisted_repository", Place(used[key].uuid, used[key].name, key),
                    "only CMP knows this repository: GitHub has not listed it",
                    "check github_url; `gh auth status` on the registry host",
                )  # fmt: skip


def manifests(context: Context) -> Iterator[Finding]:
    """Yield what the manifests in clones say differently from CMP."""
    files = _files(context)
    for clone_key, (path, manifest) in files.manifests.items():
        uuid = str(manifest.get("canonical_uuid") or "").lower()
        one = context.projects.get(uuid)
        if one is None:
            yield finding(
                "manifest_differs", Place(where=path), "canonical_uuid is no project in CMP",
                "correct the manifest, or create the project", found=uuid or None,
            )  # fmt: skip
            continue
        for name, expected, found in _pairs(one, manifest, clone_key, files):
            if found is not None and found != expected:
                yield finding(
                    "manifest_differs", Place(uuid, one.name, path), f"{name} is not as CMP has it",
                    f"CMP is the source of truth: write {name.rpartition('.')[2]}: {json.dumps(expected)}",
                    expected=expected, found=found,
                )  # fmt: skip


def _pairs(
    one: Facts, manifest: Mapping[str, Any], clone_key: str, files: Files
) -> Iterator[tuple[str, object, object]]:
    """Yield field, value that it should have, and its value; None if the manifest lacks it."""
    project, repository = _mapping(manifest, "project"), _mapping(manifest, "repository")
    for name, expected in (("name", one.name), ("type", one.type), ("domain", one.domain)):
        yield f"project.{name}", expected, project.get(name)
    url = repository.get("github_url")
    yield "repository.github_url", url_key(one.github_url), clone_key if url is None else url_key(str(url))
    anchors = _mapping(_mapping(manifest, "genesis"), "anchors")
    shown = {it.registry.scanner.check: one.uuid in it.registry.document for it in files.compared.values()}
    for name, anchored in (
        ("cmp_registered", True),
        ("uuid_registry", shown.get("in_canonical_uuids")),
        ("project_registry", shown.get("in_project_registry")),
        ("github_repo", github(url_key(one.github_url)) is not None),
    ):
        if isinstance(found := anchors.get(name), bool):
            yield f"genesis.anchors.{name}", anchored, found


def _mapping(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, dict) else {}


def _files(context: Context) -> Files:
    if context.files is None:
        raise AssertionError("the client leaves out these checks where there are no files")
    return context.files
