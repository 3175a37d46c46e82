"""`make audit`: checks the installed packages for known vulnerabilities.

pip-audit reports success for packages that its service does not know. Behind a mirror without a service, it
always succeeds. So this program first asks for a package with an old, known vulnerability. A service that
does not report it is not used. If no service can be used, the output reports that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
KNOWN_VULNERABILITY = "PyYAML==5.3"
"""This version executes code from a document: CVE-2020-14343."""

Report = dict[str, Any]


def main() -> int:
    """Audit the installed packages.

    Return 1 for a known vulnerability. Return 0 also if no service answers, with a message.
    """
    service = next((it for it in SERVICES if answers(it)), None)
    if service is None:
        show(f"NOT DONE, no vulnerability service answers from here ({', '.join(SERVICES)})")
        return 0
    report = pip_audit(service, "--local", "--skip-editable")
    if report is None:
        show(f"NOT DONE, {service} stopped answering")
        return 0
    lines, status = assess(report)
    show(*lines)
    return status


def answers(service: str) -> bool:
    """Return whether a service reports the known vulnerability."""
    with tempfile.TemporaryDirectory() as directory:
        requirements = Path(directory, "requirements.txt")
        requirements.write_text(f"{KNOWN_VULNERABILITY}\n")
        report = pip_audit(service, "--no-deps", "--disable-pip", "--requirement", str(requirements))
    return report is not None and any(package.get("vulns") for package in report["dependencies"])


def pip_audit(service: str, *arguments: str) -> Report | None:
    """Return the report of pip-audit; None if its service could not be reached."""
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


def assess(report: Report) -> tuple[list[str], int]:
    """Return the lines to print, and the exit status."""
    packages = report["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package and not is_ours(package)]
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no release'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    ]
    lines = [*found, f"{len(packages) - len(unknown)} packages checked, {len(found)} known vulnerabilities"]
    if unknown:
        lines.append(f"NOT CHECKED: {', '.join(sorted(unknown))}")
    return lines, 1 if found else 0


def show(*lines: str) -> None:
    """Print lines with a prefix."""
    sys.stdout.writelines(f"audit: {line}\n" for line in lines)


def is_ours(package: Report) -> bool:
    """Return whether a package is this checkout."""
    return "editable" in package.get("skip_reason", "")


if __name__ == "__main__":
    sys.exit(main())
