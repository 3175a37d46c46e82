"""P2: at every instant each file is complete, parses, and equals a full rebuild at one committed snapshot."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from support.host import CANONICAL, PROJECT, Host
from support.reader import MANY, Reader
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.evidence import Scale

UPDATE_ALL = """
update projects
   set status = %(update)s,
       metadata_ = jsonb_build_object(
         'github_url', format('https://github.com/acme/%%s-%%s', %(update)s::text, key))
"""
"""One transaction that changes every entry of every registry."""

SWAP = """
update projects p set status = o.status from projects o
 where (p.key, o.key) in (('key-' || %(one)s, 'key-' || %(other)s), ('key-' || %(other)s, 'key-' || %(one)s))
"""
"""One transaction that exchanges two statuses."""


def test_readers_never_see_a_torn_file_or_half_a_transaction(cmp: Cmp, host: Host, scale: Scale) -> None:
    """P2: the readers read without a pause, while each transaction changes every entry of every file."""
    projects, updates = scale(50, 500), scale(15, 50)
    cmp.fill(projects)
    cmp.conn.execute(UPDATE_ALL, {"update": "w000000"})
    host.daemon()
    readers = [Reader(host.root, "updates") for _ in range(scale(1, 2))]
    number = 0
    while number < updates or not all(reader.many() for reader in readers):
        number += 1
        cmp.conn.execute(UPDATE_ALL, {"update": f"w{number:06}"})
    cmp.arrived()
    found = [reader.end() for reader in readers]

    assert [wrong for it in found for wrong in it["wrong"]] == []
    assert all(it["reads"] >= MANY for it in found)
    assert host.raw(CANONICAL).count(f"w{number:06}-".encode()) == projects
    assert_as_rebuilt(cmp, host)


def test_a_file_shows_a_whole_transaction_or_none_of_it(cmp: Cmp, host: Host, scale: Scale) -> None:
    """P2: each transaction exchanges two statuses. At every instant each status is in exactly one project."""
    rng = random.Random(20261122)
    cmp.fill(8)
    cmp.conn.execute("update projects set status = substr(key, 5)::int - 1")
    host.daemon()
    reader = Reader(host.root, "swaps")
    swaps = 0
    while swaps < scale(100, 1000) or not reader.many():
        swaps += 1
        one, other = rng.sample(range(1, 9), 2)
        cmp.conn.execute(SWAP, {"one": str(one), "other": str(other)})
    cmp.arrived()
    found = reader.end()

    assert found["wrong"] == []
    assert found["reads"] >= MANY
    assert len({entry["status"] for entry in host.canonical().values()}) == 8


def test_many_incremental_changes_equal_a_full_rebuild(cmp: Cmp, host: Host, scale: Scale) -> None:
    """P2: single rows change, and batches above and below the bulk limit."""
    rng = random.Random(20261122)
    cmp.fill(projects := scale(1200, 3000))
    host.daemon()
    for statement in (
        "update projects set name = 'A' || name where key like '%%5'",
        "update projects set type = 'LIBRARY' where length(key) > 6",
        "update projects set status = null, key = null where name like '%%1'",
        "delete from projects where name like '%%22'",
    ):
        cmp.conn.execute(statement, [])
        for _ in range(25):
            cmp.conn.execute(
                """update projects
                      set name = %s, metadata_ = metadata_ || jsonb_build_object('github_url', %s::text)
                    where id = (select id from projects order by id offset %s limit 1)""",
                [
                    rng.choice(["z", "Ä", "no", "0x1", "- x", "tab\there", "😀", ""]),
                    rng.choice(["", "x", "https://github.com/acme/project-1", None]),
                    rng.randrange(projects * 2 // 3),
                ],
            )
    cmp.arrived()

    assert_as_rebuilt(cmp, host)
    assert len(host.canonical()) == len(host.projects()) == cmp.value("select count(*) from projects")


def test_the_files_of_an_empty_cmp_are_complete(cmp: Cmp, host: Host) -> None:
    """P2: CMP is empty, gets one project, and is empty again. Each file parses."""
    daemon = host.daemon()
    nothing = host.content()
    project = cmp.upsert("only one", github_url="https://github.com/acme/only")
    cmp.arrived()
    one = set(host.projects())
    cmp.conn.execute("delete from projects")
    cmp.arrived()
    daemon.stop()

    assert one == {project}
    assert host.content() == nothing
    assert (host.canonical(), host.projects(), host.inventory()) == ({}, {}, [])
    assert b"\n  total: 0\n" in nothing[PROJECT]
