"""Checks of the files of a registry host: registries, people's files, clones and manifests. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnicdc.clients.validation.findings import Place, finding
from omnicdc.formats.urls import url_key
from omnicdc.inputs.inventory import CMP, GONE, SOURCE
from omnicdc.inputs.reading import without_match

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.clients.migration.facts import Facts
    from omnicdc.clients.validation.context import Context, Files
    from omnicdc.clients.validation.findings import Finding
    from omnicdc.verify.audit import Compared
    from omnicdc.verify.difference import EntryDifference

REBUILD = "omnicdc rebuild"
IDLE = ("archived", "snapshot")
"""Projects of these statuses need no directory on a host."""


def registries(context: Context) -> Iterator[Finding]:
    """Yield what differs between each registry and CMP, entry by entry."""
    for compared in _files(context).compared.values():
        report = compared.report
        if report.status == "unreadable":
            yield finding(
                "registry_differs", Place(where=report.registry), report.detail, report.hint, repairable=False
            )
        for entry in report.difference.entries if report.difference else ():
            yield _differing(context, compared, entry)
        for name, (expected, found) in report.difference.header.items() if report.difference else ():
            yield finding(
                "registry_differs", Place(where=report.registry), f"its header has another {name}", REBUILD,
                expected=expected, found=found, repairable=True,
            )  # fmt: skip


def disagreements(context: Context) -> Iterator[Finding]:
    """Yield the projects that a registry shows and the mirror of CMP does not, or shows with another URL.

    Only the files are compared with each other.
    """
    contents = _files(context).contents.values()
    for mirror in (it for it in contents if it.is_mirror):
        for content in (it for it in contents if it is not mirror):
            for project, url in content.urls.items():
                expected = mirror.urls.get(project)
                if url != expected:
                    known = context.projects.get(project)
                    yield finding(
                        "registries_disagree",
                        Place(project, known.name if known else None, content.registry),
                        f"{mirror.registry} does not have the project" if expected is None
                        else f"{mirror.registry} has another URL",
                        REBUILD, expected=expected, found=url, repairable=True,
                    )  # fmt: skip


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
        f"{entry.entry_key}: {what}",
        REBUILD,
        expected={name: pair[0] for name, pair in entry.fields.items()} or None,
        found={name: pair[1] for name, pair in entry.fields.items()} or None,
        repairable=True,
    )


def paths(context: Context) -> Iterator[Finding]:
    """Yield the `local_paths` of active projects that are missing on this host."""
    files = _files(context)
    for uuid, one in context.projects.items():
        key = url_key(one.github_url)
        override = files.inputs.overrides.get(key)
        status = (override.status if override and override.status else one.status) or "active"
        if status in IDLE or not key:
            continue
        for path in override.local_paths if override else ():
            if path in files.missing_paths:
                where = next((it.where for it in reversed(files.overrides) if key in it.names), "")
                yield finding(
                    "missing_path", Place(uuid, one.name, where), "the local path is missing on this host",
                    "clone it there, correct the override, or archive the project", found=path,
                )  # fmt: skip


def people(context: Context) -> Iterator[Finding]:
    """Yield the overrides and exclusions that match no project."""
    files = _files(context)
    keys = {url_key(one.github_url) for one in context.projects.values()} - {""}
    for what, entries in (("override", files.overrides), ("exclusion", files.exclusions)):
        for entry in without_match(entries, keys):
            yield finding(
                "useless_entry", Place(where=entry.where), f"the {what} matches no project in CMP",
                "correct it or remove it", found=", ".join(entry.names),
            )  # fmt: skip


def inventory(context: Context) -> Iterator[Finding]:
    """Yield the repositories that no project uses, that GitHub no longer lists, or that only CMP knows."""
    files = _files(context)
    used = {url_key(one.github_url): one for one in context.projects.values() if one.github_url}
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
        yield from _unlisted(compared, used)


def _unlisted(compared: Compared, used: Mapping[str, Facts]) -> Iterator[Finding]:
    layout, document = compared.registry.scanner.layout, compared.registry.document
    if not compared.registry.scanner.grouped:
        return
    for key in document.entry_keys():
        data = document.get(key) or b""
        if f'"{SOURCE}": "{CMP}"'.encode() in data and key in used:
            for core in layout.cores(data):
                if layout.item(core).fields.get(SOURCE) == CMP:
                    yield finding(
                        "unlisted_repository", Place(used[key].uuid, used[key].name, key),
                        "only CMP knows this repository: GitHub has not listed it",
                        "check github_url; `gh auth status` on the registry host",
                    )  # fmt: skip


def manifests(context: Context) -> Iterator[Finding]:
    """Yield what the manifests in clones say differently from CMP."""
    for path, manifest in _files(context).manifests.items():
        uuid = str(manifest.get("canonical_uuid") or "").lower()
        one = context.projects.get(uuid)
        if one is None:
            yield finding(
                "manifest_differs", Place(where=path), "canonical_uuid is no project in CMP",
                "correct the manifest, or create the project", found=uuid or None,
            )  # fmt: skip
            continue
        for name, expected, found in _pairs(one, manifest):
            if found is not None and found != expected:
                yield finding(
                    "manifest_differs", Place(uuid, one.name, path), f"{name} is not as CMP has it",
                    "CMP is the source of truth: correct the manifest", expected=expected, found=found,
                )  # fmt: skip


def _pairs(one: Facts, manifest: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    project, repository = _mapping(manifest, "project"), _mapping(manifest, "repository")
    for name, expected in (("name", one.name), ("type", one.type), ("domain", one.domain)):
        yield f"project.{name}", expected, project.get(name)
    url = repository.get("github_url")
    yield "repository.github_url", url_key(one.github_url), None if url is None else url_key(str(url))
    anchors = _mapping(_mapping(manifest, "genesis"), "anchors")
    if anchors.get("cmp_registered") is False:
        yield "genesis.anchors.cmp_registered", True, False


def _mapping(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, dict) else {}


def _files(context: Context) -> Files:
    if context.files is None:
        raise AssertionError("the client leaves out these checks where there are no files")
    return context.files
