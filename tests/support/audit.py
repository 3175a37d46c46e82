"""`make audit`: looks for known holes in what is installed, and says so where nobody can be asked.

pip-audit counts a package that its service does not know as no hole, and ends well: behind a mirror that has
no service, everything is green. So a package that has had a hole for years is asked for first: who does not
know of that one knows nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
KNOWN_HOLE = "PyYAML==5.3"
"""Runs code that is in a document: CVE-2020-14343."""

Report = dict[str, Any]


def main() -> int:
    """Audit what is installed here.

    1 if it has a known hole, 0 also if nobody answers, and then it says so.
    """
    service = next((it for it in SERVICES if answers(it)), None)
    if service is None:
        tell(f"NOT DONE, no vulnerability service answers from here ({', '.join(SERVICES)})")
        return 0
    report = asked(service, "--local", "--skip-editable")
    if report is None:
        tell(f"NOT DONE, {service} stopped answering")
        return 0
    lines, status = judged(report)
    tell(*lines)
    return status


def answers(service: str) -> bool:
    """Whether a service knows a hole that is known."""
    with tempfile.TemporaryDirectory() as directory:
        requirements = Path(directory, "requirements.txt")
        requirements.write_text(f"{KNOWN_HOLE}\n")
        report = asked(service, "--no-deps", "--disable-pip", "--requirement", str(requirements))
    return report is not None and any(package.get("vulns") for package in report["dependencies"])


def asked(service: str, *arguments: str) -> Report | None:
    """Return what pip-audit found; None if its service could not be reached."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--format", "json"]
    done = subprocess.run(
        [*command, "--progress-spinner", "off", "--timeout", "10", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report: Report = json.loads(done.stdout)
    except ValueError:
        return None
    return report


def judged(report: Report) -> tuple[list[str], int]:
    """Return what to say, and the exit status."""
    packages = report["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package and not is_ours(package)]
    holes = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in "
        f"{', '.join(hole['fix_versions']) or 'no release'}"
        for package in packages
        for hole in package.get("vulns", ())
    ]
    lines = [*holes, f"{len(packages) - len(unknown)} packages looked at, {len(holes)} known holes"]
    if unknown:
        lines.append(f"NOT LOOKED AT: {', '.join(sorted(unknown))}")
    return lines, 1 if holes else 0


def tell(*lines: str) -> None:
    """Print."""
    sys.stdout.writelines(f"audit: {line}\n" for line in lines)


def is_ours(package: Report) -> bool:
    """Whether it is this checkout."""
    return "editable" in package.get("skip_reason", "")


if __name__ == "__main__":
    sys.exit(main())
