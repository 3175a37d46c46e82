"""What the commands `verify` and `status` report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.cmp import Cmp
    from support.evidence import Scale
    from support.host import Host


def assert_verified(host: Host, *which: str) -> None:
    """Check that `omnicdc verify` finds no difference in these projects, or in all projects."""
    for one in which or ("--all",):
        done = host.run("verify", one)
        assert done.returncode == 0, (one, done.stdout[:3000], done.stderr)


def assert_verified_and_rebuilt(cmp: Cmp, host: Host, scale: Scale, projects: Iterable[str] = ()) -> None:
    """Check all projects with `omnicdc verify`.

    In a campaign, also check these projects one by one, and compare the files with a full rebuild.
    """
    assert_verified(host)
    if scale(0, 1):
        assert_verified(host, *projects)
        assert_as_rebuilt(cmp, host)


def quarantined_rows(host: Host) -> dict[str, dict[str, str]]:
    """Return what `omnicdc status` reports as quarantined: registry to project to reason.

    `status` lists only some of the projects, so the database completes the list.
    """
    answer = host.ask("status")
    [consumer] = (one for one in answer["consumers"] if one["name"] == host.env["OMNICDC_CONSUMER"])
    assert not consumer["held"], consumer["held"]
    listed: dict[str, dict[str, str]] = consumer["quarantined"]
    reported = [
        (project, name, why) for name, projects in listed.items() for project, why in projects.items()
    ]
    for project, name, why in reported:
        assert any(project in line and name in line and why in line for line in answer["faults"])
    found: dict[str, dict[str, str]] = {}
    with psycopg.connect(host.env["OMNICDC_DSN"]) as conn:
        for name, project, why in conn.execute(
            "select registry, key, reason from omnicdc.quarantine where consumer = %s",
            [consumer["name"]],
        ):
            found.setdefault(name, {})[project] = why
    assert {name: len(held) for name, held in found.items()} == consumer["quarantined_counts"]
    assert all(held.items() <= found[name].items() for name, held in listed.items())
    return found
