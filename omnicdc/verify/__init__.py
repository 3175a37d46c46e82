"""Verifies the registry files: compares them with CMP. It trusts no other data, and needs no daemon.

`project` verifies one project, `batch` several, `audit` all. `expectation` is what CMP requires, `contents`
is what a file contains, `difference` compares both, and `report` is the answer.
"""

from omnicdc.verify.audit import verify_all
from omnicdc.verify.batch import verify_projects
from omnicdc.verify.project import genesis_names, known_inputs, registry_names, verify_project
from omnicdc.verify.report import Report

__all__ = [
    "Report",
    "genesis_names",
    "known_inputs",
    "registry_names",
    "verify_all",
    "verify_project",
    "verify_projects",
]
