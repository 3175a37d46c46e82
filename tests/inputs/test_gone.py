"""A repository that GitHub listed before and does not list now is marked as gone. No other one is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.inputs_host import LISTING, ROCKET
from support.inputs_host import InputsHost as Host

from omnicdc.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    host = Host(tmp_path)
    host.gh(f"echo '{json.dumps(LISTING)}'")
    return host


def test_a_repository_is_gone_until_github_lists_it_again_also_across_a_restart(
    host: Host,
) -> None:
    store = host.store()
    store.refresh(Stop())
    host.gh("echo '[]'")
    store.refresh(Stop())
    restarted = host.store()

    assert store.current.repositories == {ROCKET: LISTING[0] | {"source": "gone"}}
    assert restarted.current == store.current
    assert restarted.refresh(Stop()) is None

    host.gh(f"echo '{json.dumps(LISTING)}'")
    restarted.refresh(Stop())

    assert restarted.current.repositories == {ROCKET: LISTING[0]}


def test_only_a_repository_of_a_listed_owner_can_be_gone(host: Host) -> None:
    """An owner that cannot be listed, or is no longer requested, loses no repository."""
    other = {"name": "lander", "url": "https://github.com/zeta/lander"}
    host.gh(f"""[ "$3" = acme ] && echo '{json.dumps(LISTING)}' || echo '{json.dumps([other])}'""")
    store = host.store()
    store.refresh(Stop(), ["zeta"])
    before = store.current

    host.gh(f"""[ "$3" = acme ] && echo '{json.dumps(LISTING)}' || exit 1""")
    store.refresh(Stop(), ["zeta"])
    assert store.current == before

    store.refresh(Stop())
    assert store.current == before


def test_an_adopted_repository_that_was_never_listed_is_not_gone(host: Host) -> None:
    host.inventory({"name": "old", "url": "https://github.com/acme/old", "stars": 1})
    store = host.store()
    store.refresh(Stop())

    assert "source" not in store.current.repositories["https://github.com/acme/old"]
