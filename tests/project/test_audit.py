"""`make audit` fails for a known vulnerability, and reports every package that it could not check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import audit

if TYPE_CHECKING:
    import pytest

GOOD: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
VULNERABLE: dict[str, Any] = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN: dict[str, Any] = {
    "name": "c",
    "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)",
}
OURS: dict[str, Any] = {"name": "omnicdc", "skip_reason": "distribution marked as editable"}


def test_a_known_vulnerability_is_reported_with_its_fix_and_fails() -> None:
    lines, status = audit.assess({"dependencies": [GOOD, VULNERABLE, OURS]})

    assert status == 1
    assert lines[0] == "b 2: CVE-1, fixed in 3"


def test_a_package_that_the_service_does_not_know_is_reported() -> None:
    lines, status = audit.assess({"dependencies": [GOOD, UNKNOWN, OURS]})

    assert status == 0
    assert lines == ["2 packages checked, 0 known vulnerabilities", "NOT CHECKED: c"]


def test_a_service_that_does_not_know_an_old_vulnerability_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind a mirror without a vulnerability service, pip-audit finds no package and reports success."""
    monkeypatch.setattr(audit, "pip_audit", lambda *_: {"dependencies": [UNKNOWN]})

    assert audit.main() == 0
    assert "NOT DONE" in capsys.readouterr().out
