"""P1: every committed change of a watched column reaches every registry it affects; nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host


def test_an_upsert_alone_brings_every_registry_up_to_date(cmp: Cmp, host: Host) -> None:
    host.daemon()
    project = cmp.upsert("apollo", github_url="https://github.com/acme/apollo")

    assert host.ask("wait")["verdict"] == "published"
    assert host.canonical()[project]["name"] == "apollo"
    assert host.projects()[project]["display_name"] == "apollo"
    assert [element["uuid"] for element in host.inventory()] == [project]
