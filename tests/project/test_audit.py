"""`make audit` is red for a known hole, and never green for what was not looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import audit

if TYPE_CHECKING:
    import pytest

GOOD: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
HOLE: dict[str, Any] = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN: dict[str, Any] = {
    "name": "c",
    "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)",
}
OURS: dict[str, Any] = {"name": "omnicdc", "skip_reason": "distribution marked as editable"}


def test_a_known_hole_is_named_with_its_mend_and_ends_it() -> None:
    lines, status = audit.judged({"dependencies": [GOOD, HOLE, OURS]})

    assert status == 1
    assert lines[0] == "b 2: CVE-1, mended in 3"


def test_what_the_service_does_not_know_is_named() -> None:
    lines, status = audit.judged({"dependencies": [GOOD, UNKNOWN, OURS]})

    assert status == 0
    assert lines == ["2 packages looked at, 0 known holes", "NOT LOOKED AT: c"]


def test_a_service_that_does_not_know_a_hole_of_years_ago_knows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mirror without a service says of every package that it was not found.

    Then pip-audit says that all is well.
    """
    monkeypatch.setattr(audit, "asked", lambda *_: {"dependencies": [UNKNOWN]})

    assert audit.main() == 0
    assert "NOT DONE" in capsys.readouterr().out
