"""Has it arrived? Compares CMP with the files and trusts nothing else; needs no daemon.

`project` asks for one project or some, `audit` for all; `expectation` is what CMP asks for, `contents` what a
file holds, `difference` what is between them, `report` the answer.
"""

from omnicdc.verify.audit import verify_all
from omnicdc.verify.batch import verify_projects
from omnicdc.verify.project import known_inputs, registry_names, verify_project
from omnicdc.verify.report import Report

__all__ = ["Report", "known_inputs", "registry_names", "verify_all", "verify_project", "verify_projects"]
