"""A finding: one thing that is wrong in CMP, in a registry, or in the files of a host. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

Severity = Literal["info", "warn", "critical"]

KINDS: dict[str, Severity] = {
    "registry_differs": "critical",
    "registries_disagree": "critical",
    "duplicate_name": "warn",
    "duplicate_key": "critical",
    "duplicate_url": "warn",
    "bad_url": "warn",
    "foreign_url": "info",
    "shared_id": "critical",
    "placeholder_id": "warn",
    "missing_path": "warn",
    "useless_entry": "warn",
    "unused_repository": "info",
    "gone_repository": "warn",
    "unlisted_repository": "info",
    "manifest_differs": "warn",
    "unknown_status": "warn",
    "unknown_type": "warn",
    "capture": "critical",
    "held": "critical",
    "quarantine": "critical",
    "drift": "warn",
    "fault": "critical",
}
"""Every kind of finding, and how severe it is.

- `registry_differs`: a registry is not what CMP says.
- `registries_disagree`: two registries contradict each other.
- `bad_url`: `github_url` is not the URL of a repository. `foreign_url`: it is not on GitHub.
- `shared_id`: a project and an agent have one id.
- `useless_entry`: an override or exclusion that matches no project.
- `unused_repository`: no project has it. `gone_repository`: GitHub does not list it any more.
- `unlisted_repository`: only CMP knows it.
- `manifest_differs`: a clone's `.genesis/PROJECT_MANIFEST.yaml` contradicts CMP.
- `capture`: it is broken, so changes may be missed. `held`: a daemon does not write a registry.
- `quarantine`: a project is held back from a registry. `drift`: a registry was changed outside omnicdc.
- `fault`: any other one of `omnicdc status`."""

REBUILD = "omnicdc rebuild"
"""Repairs what differs between a registry and CMP."""


class Finding(TypedDict):
    """One finding. `expected` and `found` are None where there is no such value."""

    kind: str
    severity: Severity
    project: str | None
    name: str | None
    detail: str
    expected: Any
    found: Any
    where: str
    remedy: str
    repairable: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Whom and what a finding is about."""

    project: str | None = None
    name: str | None = None
    where: str = ""
    """`FILE:LINE`, a path, or the name of a registry."""


def finding(
    kind: str,
    place: Place,
    detail: str,
    remedy: str,
    *,
    expected: object = None,
    found: object = None,
    repairable: bool = False,
) -> Finding:
    """Return a finding of a kind in KINDS."""
    return {
        "kind": kind,
        "severity": KINDS[kind],
        "project": place.project,
        "name": place.name,
        "detail": detail,
        "expected": expected,
        "found": found,
        "where": place.where,
        "remedy": remedy,
        "repairable": repairable,
    }
