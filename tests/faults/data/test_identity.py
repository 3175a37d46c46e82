"""Projects share names, keys and URLs, and change their ids."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from faults.data.commands import assert_verified_and_rebuilt
from faults.data.comparison import QUICK, assert_files_show, read_rows
from faults.data.samples import URLS

if TYPE_CHECKING:
    import random

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Host


@pytest.mark.campaign
def test_names_keys_and_urls_that_projects_share(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P2: the files hold each project, and the inventory holds one element for each repository.

    The element names all projects of the repository, in order.
    """
    rounds, most = scale(3, 40), scale(45, 1200)
    repositories = [f"acme/r{number}" for number in range(8)]
    host.daemon()
    used: dict[str, tuple[str, str | None]] = {}
    for _ in range(rounds):
        with cmp.transaction() as (conn, token):
            for project in dice.sample([*used], len(used) // 4):
                conn.execute("delete from projects where id = %s", [project])
                del used[project]
            for _ in range(most // rounds + 1):
                project = dice.choice([*used, str(uuid.UUID(int=dice.getrandbits(128), version=4))])
                repository, name = (
                    dice.choice([*repositories, None]),
                    dice.choice(["same", "Same", "", "other"]),
                )
                url = repository and dice.choice(URLS).format(dice.choice([repository, repository.upper()]))
                cmp.upsert(name, id=project, key=dice.choice([None, "", "same"]), conn=conn, github_url=url)
                used[project] = name, repository
        cmp.arrived(token)
        assert_files_show(host, read_rows(cmp), QUICK)
        elements = {
            element["url"].lower().removeprefix("https://github.com/"): element.get(
                "uuids", [element["uuid"]]
            )
            for element in host.inventory()
        }
        sharing = {
            repository: sorted((name, project) for project, (name, its) in used.items() if its == repository)
            for repository in {its for _, its in used.values() if its}
        }
        assert elements == {its: [project for _, project in users] for its, users in sharing.items()}
        assert all(
            element["uuid"] in elements[element["url"].lower()[19:]][:1] for element in host.inventory()
        )
    assert_verified_and_rebuilt(cmp, host, scale, dice.sample([*used], min(len(used), 20)))

    evidence(
        "P1 P2",
        f"hundreds of projects with the same few names, keys and repositories, whose URLs are written in "
        f"{2 * len(URLS)} ways, coming and going",
        times=most + rounds,
        found="one element a repository with all its projects in order, compared with what was written",
    )


@pytest.mark.campaign
def test_ids_that_move_between_rows(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1: in one transaction, rows swap ids or rotate them, or take new ids or ids of deleted rows."""
    rounds = scale(5, 120)
    cmp.fill(30)
    host.daemon()
    moved = 0
    gone: list[str] = []
    for _ in range(rounds):
        rows = [*read_rows(cmp)]
        old = dice.sample(rows, dice.choice([2, 2, 3, 5, 30]))
        new = dice.choice(
            [old[1:] + old[:1], [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in old]]
        )
        new = new if not gone or new[0] in rows else [gone.pop(), *new[1:]]
        with cmp.transaction() as (conn, token):
            for project in old:
                conn.execute(
                    "update projects set id = overlay(id::text placing 'ffff' from 15)::uuid where id = %s",
                    [project],
                )
            for project, its in zip(old, new, strict=True):
                conn.execute(
                    "update projects set id = %s where id = overlay(%s placing 'ffff' from 15)::uuid",
                    [its, project],
                )
        cmp.arrived(token)
        assert_files_show(host, now := read_rows(cmp), QUICK)
        moved += len(old)
        gone += [project for project in old if project not in now]
        assert {element["uuid"] for element in host.inventory()} == {*now}
    assert_verified_and_rebuilt(cmp, host, scale, dice.sample([*now], 5))

    evidence(
        "P1",
        "ids swapped, turned in cycles, given anew and taken up again, two to thirty rows in one transaction",
        times=moved,
        found=f"after each of {rounds} transactions every registry had each row under its id, and none twice",
    )
