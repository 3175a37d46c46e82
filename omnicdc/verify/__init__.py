"""Verifies the registry files: compares them with CMP. It trusts no other data, and needs no daemon.

`project` verifies one project, `batch` several, `audit` all. `expectation` is what CMP requires, `contents`
is what a file contains, `difference` compares both, and `report` is the answer.

A module is imported when its name is used, so that a client that only waits need not import the formats of
the registries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omnicdc.verify.audit import verify_all
    from omnicdc.verify.batch import verify_projects
    from omnicdc.verify.project import genesis_names, known_inputs, registry_names, verify_project
    from omnicdc.verify.report import Report

_WHERE = {
    "Report": "report",
    "genesis_names": "project",
    "known_inputs": "project",
    "registry_names": "project",
    "verify_all": "audit",
    "verify_project": "project",
    "verify_projects": "batch",
}
"""Public name to its module."""

__all__ = [
    "Report",
    "genesis_names",
    "known_inputs",
    "registry_names",
    "verify_all",
    "verify_project",
    "verify_projects",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is used first."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
