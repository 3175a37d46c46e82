"""P6: one bad row, one bad registry holds back itself only, visibly, and heals by itself."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support.external_changes import file_instead, swap
from support.host import CANONICAL, INVENTORY, PROJECT, REGISTRIES, Host, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.cmp import Cmp

Obstruct = "Callable[[Path], Callable[[], None]]"


def name_of(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def status(host: Host) -> tuple[dict[str, Any], list[str]]:
    """Return the consumer as `omnicdc status` shows it, and the faults that it names."""
    answer = host.ask("status")
    [consumer] = answer["consumers"]
    assert answer["healthy"] == (not answer["faults"])
    return consumer, answer["faults"]


def settled(cmp: Cmp) -> None:
    until(lambda: cmp.wait().status == "published", "published")


def test_the_guard_holds_what_would_lose_most_of_its_entries_until_it_is_accepted(
    cmp: Cmp, host: Host
) -> None:
    """P6: the last good files stay, and are kept across a restart; `accept` lets it through, once."""
    cmp.fill(40)
    daemon = host.daemon()
    last_good, files = host.content(), host.stats()
    cmp.conn.execute("delete from projects where key > 'key-2'")
    left = cmp.value("select count(*) from projects")
    cmp.wait()
    consumer, faults = status(host)
    held = [host.content() == last_good, host.rewritten(files) == set()]
    daemon.stop()
    host.daemon()
    after_restart = host.content() == last_good
    accepted = host.run("accept", "--json")
    once = len(host.canonical())
    cmp.fill(60)
    cmp.arrived()
    cmp.conn.execute("truncate projects")
    again = cmp.wait()

    assert set(consumer["held"]) == {name_of(path) for path in REGISTRIES}
    assert all(fault["guard"] and "omnicdc accept" in fault["hint"] for fault in consumer["held"].values())
    assert all(f"it would lose {40 - left} of its 40 entries" in fault for fault in faults)
    assert held == [True, True]
    assert after_restart
    assert (accepted.returncode, once) == (0, left)
    assert again.status == "held", "an accept is good for what is held now, and for nothing later"


def test_the_guard_releases_by_itself_when_the_rows_are_back(cmp: Cmp, host: Host) -> None:
    """P6: and files that were right all the time are not rewritten for it."""
    cmp.fill(30)
    cmp.conn.execute("create table kept as select * from projects")
    host.daemon()
    files = host.stats()
    cmp.conn.execute("truncate projects")
    held = cmp.wait().status
    cmp.conn.execute("insert into projects select * from kept")
    back = cmp.wait().status
    consumer, _ = status(host)

    assert (held, back) == ("held", "published")
    assert consumer["held"] == {}
    assert host.rewritten(files) == set()


@pytest.mark.parametrize(
    ("rows", "gone", "verdict"), [(20, 10, "published"), (20, 11, "held"), (12, 9, "published")]
)
def test_the_guard_has_a_share_and_a_least_number(
    cmp: Cmp, host: Host, rows: int, gone: int, verdict: str
) -> None:
    """P6: more than half, and at least ten."""
    cmp.fill(rows)
    host.daemon()
    cmp.conn.execute("delete from projects where id in (select id from projects limit %s)", [gone])

    assert cmp.wait().status == verdict


def test_an_accept_that_no_daemon_heard_is_carried_out_by_the_next(cmp: Cmp, host: Host) -> None:
    """P6: asked for while the daemon was down."""
    cmp.fill(30)
    daemon = host.daemon()
    cmp.conn.execute("truncate projects")
    cmp.wait()
    daemon.kill()
    cmp.conn.execute("select omnicdc.request_accept()")
    host.daemon()
    cmp.arrived()

    assert host.canonical() == {}


def a_file_in_the_directory_s_place(directory: Path) -> Callable[[], None]:
    moved = file_instead(directory)

    def mend() -> None:
        swap(moved, directory)
        moved.unlink()

    return mend


def a_link_out_of_the_root(directory: Path) -> Callable[[], None]:
    moved = directory.parents[3] / f"outside {directory.name}"
    moved.symlink_to(moved)
    swap(moved, directory)

    def mend() -> None:
        swap(moved, directory)
        moved.unlink()

    return mend


def a_directory_that_nothing_can_be_put_in(directory: Path) -> Callable[[], None]:
    """The temporary file's place is taken by a directory that is not empty."""
    [target] = [path for path in directory.iterdir() if not path.name.startswith(".")]
    place = directory / f".{target.name}.omnicdc-tmp"
    (place / "full").mkdir(parents=True)
    return lambda: shutil.rmtree(place)


@pytest.mark.parametrize(
    ("registry", "obstruct"),
    [
        (CANONICAL, a_file_in_the_directory_s_place),
        (PROJECT, a_link_out_of_the_root),
        (INVENTORY, a_directory_that_nothing_can_be_put_in),
        pytest.param(PROJECT, a_directory_that_nothing_can_be_put_in, marks=pytest.mark.campaign),
        pytest.param(INVENTORY, a_file_in_the_directory_s_place, marks=pytest.mark.campaign),
    ],
)
def test_a_registry_that_cannot_be_written_is_held_alone_and_heals(
    cmp: Cmp, host: Host, registry: str, obstruct: Callable[[Path], Callable[[], None]]
) -> None:
    """P6: the others go on, `status` says it and how to mend it.

    Mended, it is written without a further change.
    """
    cmp.upsert("one", github_url="https://github.com/acme/one")
    host.env["OMNICDC_POLL_S"] = "0.05"
    daemon = host.daemon()
    mend = obstruct((host.root / registry).parent)
    two = cmp.upsert("two", github_url="https://github.com/acme/two")
    verdict = cmp.wait()
    consumer, faults = status(host)
    others = [
        other
        for other, shows in zip(REGISTRIES, (host.canonical, host.projects, host.inventory), strict=True)
        if other != registry and two in str(shows())
    ]
    told = [event["event"] for event in daemon.events if event["level"] != "info"]
    mend()
    settled(cmp)

    assert verdict.status == "held"
    assert name_of(registry) in verdict.detail
    assert list(consumer["held"]) == [name_of(registry)]
    assert consumer["held"][name_of(registry)]["reason"] in faults[0]
    assert consumer["held"][name_of(registry)]["hint"]
    assert len(others) == 2
    assert len(told) == len(set(told)), "a failure that repeats at every poll is not told at every poll"
    assert status(host)[1] == []
    assert two in host.canonical()
    assert two in host.projects()
    assert two in [element["uuid"] for element in host.inventory()]


def test_a_registry_held_twice_for_the_same_reason_is_told_twice(cmp: Cmp, host: Host) -> None:
    """P5, P6: healed in between by a change; the second time nothing but the file's own loss tells of it."""
    cmp.upsert("one", github_url="https://github.com/acme/one")
    host.env["OMNICDC_POLL_S"] = "0.05"
    host.daemon()
    place = (host.root / CANONICAL).parent
    for _ in range(2):
        mend = a_file_in_the_directory_s_place(place)
        until(lambda: list(status(host)[0]["held"]) == [name_of(CANONICAL)], "held is told")
        mend()
        cmp.upsert("one more")
        settled(cmp)

    assert status(host)[1] == []


def test_a_row_that_cannot_be_shown_is_quarantined_alone_and_heals(cmp: Cmp, host: Host) -> None:
    """P6: by its id and with the reason; everything else goes on, also in the registry that lacks it."""
    cmp.conn.execute("alter table projects alter name drop not null")
    good = cmp.upsert("good", github_url="https://github.com/acme/good")
    bad = cmp.upsert("bad", github_url="https://github.com/acme/bad")
    host.daemon()
    cmp.set(bad, name=None)
    with cmp.transaction() as (conn, token):
        later = cmp.upsert("later", conn=conn)
    verdict = cmp.wait(token)
    consumer, faults = status(host)
    shown = set(host.projects()), set(host.canonical()), {element["uuid"] for element in host.inventory()}
    cmp.set(bad, name="mended")
    settled(cmp)

    assert verdict.status == "published"
    assert consumer["quarantined"] == {name_of(PROJECT): {bad: "ValueError: its name is NULL"}}
    assert [bad in fault and "its name is NULL" in fault for fault in faults] == [True]
    assert shown == ({good, later}, {good, bad, later}, {good, bad})
    assert status(host)[1] == []
    assert host.projects()[bad]["display_name"] == "mended"


def test_a_quarantined_row_that_is_deleted_is_forgotten(cmp: Cmp, host: Host) -> None:
    """P6: also across a restart while it was bad."""
    cmp.conn.execute("alter table projects alter name drop not null")
    bad = cmp.value("insert into projects (key) values ('bad') returning id::text")
    daemon = host.daemon()
    before = status(host)[0]["quarantined"]
    daemon.stop()
    host.daemon()
    again = status(host)[0]["quarantined"]
    cmp.conn.execute("delete from projects where id = %s", [bad])
    settled(cmp)

    assert before == again == {name_of(PROJECT): {bad: "ValueError: its name is NULL"}}
    assert status(host)[0]["quarantined"] == {}


def test_a_bad_line_of_people_s_files_holds_back_itself_only(cmp: Cmp, host: Host) -> None:
    """P6: said with its line; the entries around it hold, and mended it is taken without a restart."""
    one = cmp.upsert("one", github_url="https://github.com/acme/one")
    two = cmp.upsert("two", github_url="https://github.com/acme/two")
    host.env["OMNICDC_POLL_S"] = "0.05"
    overrides = host.root / "governance/registry/projects/LOCAL_OVERRIDES_V1.yaml"
    overrides.parent.mkdir(parents=True)
    good = "- github_url: https://github.com/acme/one\n  notes: noted\n"
    overrides.write_text(f"overrides:\n- notes: no url\n{good}")
    daemon = host.daemon()
    fault = daemon.wait_for("input_fault")
    first = host.projects()[one]["notes"]
    overrides.write_text(f"overrides:\n- github_url: https://github.com/acme/two\n  notes: mended\n{good}")
    until(lambda: host.projects()[two]["notes"] == "mended", "the mended entry")

    assert "LOCAL_OVERRIDES_V1.yaml:2" in fault["fault"]
    assert first == "noted"
    assert host.projects()[one]["notes"] == "noted"
    assert name_of(INVENTORY) not in status(host)[0]["held"]
