"""The watch list: what the registries read of each source. `test_reads` is about what one query reads."""

from __future__ import annotations

from support.sources import WATCH, WATCHED


def test_the_registries_read_these_fields_and_no_others() -> None:
    expected = ("key", "metadata_.domain", "metadata_.github_url", "name", "status", "type")

    assert expected == WATCHED


def test_a_registry_of_agents_reads_only_agents() -> None:
    assert WATCH.sources == ("agents", "projects")
    assert WATCH.by_scanner["cmp_agents"] == {
        "agents": frozenset({"name", "kind", "role", "metadata_.clearance_tier", "metadata_.twin_bond"})
    }
