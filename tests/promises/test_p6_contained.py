"""P6: one bad row or one bad registry holds back itself only, visibly, and recovers automatically."""

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


def file_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def status(host: Host) -> tuple[dict[str, Any], list[str]]:
    """Return the consumer as `omnicdc status` shows it, and the faults that it names."""
    answer = host.ask("status")
    [consumer] = answer["consumers"]
    assert answer["healthy"] == (not answer["faults"])
    return consumer, answer["faults"]


def wait_until_published(cmp: Cmp) -> None:
    until(lambda: cmp.wait().status == "published", "published")


def test_the_guard_holds_a_large_loss_until_it_is_accepted(cmp: Cmp, host: Host) -> None:
    """P6: the last good files stay, also after a restart. One `omnicdc accept` lets one loss through."""
    cmp.fill(40)
    daemon = host.daemon()
    last_good, files = host.content(), host.stats()
    cmp.conn.execute("delete from projects where key > 'key-2'")
    remaining = cmp.value("select count(*) from projects")
    cmp.wait()
    consumer, faults = status(host)
    held = [host.content() == last_good, host.rewritten(files) == set()]
    daemon.stop()
    host.daemon()
    after_restart = host.content() == last_good
    accepted = host.run("accept", "--json")
    after_accept = len(host.canonical())
    cmp.fill(60)
    cmp.arrived()
    cmp.conn.execute("truncate projects")
    again = cmp.wait()

    assert set(consumer["held"]) == {file_name(path) for path in REGISTRIES}
    assert all(fault["guard"] and "omnicdc accept" in fault["hint"] for fault in consumer["held"].values())
    assert all(f"it would lose {40 - remaining} of its 40 entries" in fault for fault in faults)
    assert held == [True, True]
    assert after_restart
    assert (accepted.returncode, after_accept) == (0, remaining)
    assert again.status == "held", "an accept applies to what is held now, and to nothing later"


def test_the_guard_releases_automatically_when_the_rows_are_back(cmp: Cmp, host: Host) -> None:
    """P6: the files were right all the time, so they are not rewritten."""
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
def test_the_guard_has_a_share_and_a_minimum(
    cmp: Cmp, host: Host, rows: int, gone: int, verdict: str
) -> None:
    """P6: it holds a loss of more than half of the entries, and of at least ten."""
    cmp.fill(rows)
    host.daemon()
    cmp.conn.execute("delete from projects where id in (select id from projects limit %s)", [gone])

    assert cmp.wait().status == verdict


def test_an_accept_without_a_daemon_is_applied_by_the_next_daemon(cmp: Cmp, host: Host) -> None:
    """P6: it is requested while the daemon is down."""
    cmp.fill(30)
    daemon = host.daemon()
    cmp.conn.execute("truncate projects")
    cmp.wait()
    daemon.kill()
    cmp.conn.execute("select omnicdc.request_accept()")
    host.daemon()
    cmp.arrived()

    assert host.canonical() == {}


def replace_directory_by_file(directory: Path) -> Callable[[], None]:
    """Put a file in the directory's place. Return the function that restores the directory."""
    moved = file_instead(directory)

    def repair() -> None:
        swap(moved, directory)
        moved.unlink()

    return repair


def replace_directory_by_link(directory: Path) -> Callable[[], None]:
    """Put a link out of the root in the directory's place. Return the function that restores it."""
    moved = directory.parents[3] / f"outside {directory.name}"
    moved.symlink_to(moved)
    swap(moved, directory)

    def repair() -> None:
        swap(moved, directory)
        moved.unlink()

    return repair


def block_temporary_file(directory: Path) -> Callable[[], None]:
    """Put a full directory in the temporary file's place. Return the function that removes it."""
    [target] = [path for path in directory.iterdir() if not path.name.startswith(".")]
    temporary = directory / f".{target.name}.omnicdc-tmp"
    (temporary / "full").mkdir(parents=True)
    return lambda: shutil.rmtree(temporary)


@pytest.mark.parametrize(
    ("registry", "obstruct"),
    [
        (CANONICAL, replace_directory_by_file),
        (PROJECT, replace_directory_by_link),
        (INVENTORY, block_temporary_file),
        pytest.param(PROJECT, block_temporary_file, marks=pytest.mark.campaign),
        pytest.param(INVENTORY, replace_directory_by_file, marks=pytest.mark.campaign),
    ],
)
def test_a_registry_that_cannot_be_written_is_held_alone_and_recovers(
    cmp: Cmp, host: Host, registry: str, obstruct: Callable[[Path], Callable[[], None]]
) -> None:
    """P6: the other registries are published. `status` shows the reason and the remedy.

    After the remedy, the registry is written without a further change.
    """
    cmp.upsert("one", github_url="https://github.com/acme/one")
    host.env["OMNICDC_POLL_S"] = "0.05"
    daemon = host.daemon()
    repair = obstruct((host.root / registry).parent)
    two = cmp.upsert("two", github_url="https://github.com/acme/two")
    verdict = cmp.wait()
    consumer, faults = status(host)
    others = [
        other
        for other, shows in zip(REGISTRIES, (host.canonical, host.projects, host.inventory), strict=True)
        if other != registry and two in str(shows())
    ]
    logged = [event["event"] for event in daemon.events if event["level"] != "info"]
    repair()
    wait_until_published(cmp)

    assert verdict.status == "held"
    assert file_name(registry) in verdict.detail
    assert list(consumer["held"]) == [file_name(registry)]
    assert consumer["held"][file_name(registry)]["reason"] in faults[0]
    assert consumer["held"][file_name(registry)]["hint"]
    assert len(others) == 2
    assert len(logged) == len(set(logged)), "a failure that repeats at every poll is logged once"
    assert status(host)[1] == []
    assert two in host.canonical()
    assert two in host.projects()
    assert two in [element["uuid"] for element in host.inventory()]


def test_a_registry_held_twice_for_the_same_reason_is_reported_twice(cmp: Cmp, host: Host) -> None:
    """P5, P6: a change in CMP ends the first hold. Only the missing file can reveal the second fault."""
    cmp.upsert("one", github_url="https://github.com/acme/one")
    host.env["OMNICDC_POLL_S"] = "0.05"
    host.daemon()
    directory = (host.root / CANONICAL).parent
    for _ in range(2):
        repair = replace_directory_by_file(directory)
        until(lambda: list(status(host)[0]["held"]) == [file_name(CANONICAL)], "the hold is reported")
        repair()
        cmp.upsert("one more")
        wait_until_published(cmp)

    assert status(host)[1] == []


def test_a_row_that_cannot_be_shown_is_quarantined_alone_and_recovers(cmp: Cmp, host: Host) -> None:
    """P6: `status` shows its id and the reason.

    Everything else is published, also in the registry that lacks the row.
    """
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
    wait_until_published(cmp)

    assert verdict.status == "published"
    assert consumer["quarantined"] == {file_name(PROJECT): {bad: "ValueError: its name is NULL"}}
    assert [bad in fault and "its name is NULL" in fault for fault in faults] == [True]
    assert shown == ({good, later}, {good, bad, later}, {good, bad})
    assert status(host)[1] == []
    assert host.projects()[bad]["display_name"] == "mended"


def test_a_quarantined_row_leaves_the_quarantine_when_it_is_deleted(cmp: Cmp, host: Host) -> None:
    """P6: also if the daemon restarted while the row was bad."""
    cmp.conn.execute("alter table projects alter name drop not null")
    bad = cmp.value("insert into projects (key) values ('bad') returning id::text")
    daemon = host.daemon()
    before = status(host)[0]["quarantined"]
    daemon.stop()
    host.daemon()
    again = status(host)[0]["quarantined"]
    cmp.conn.execute("delete from projects where id = %s", [bad])
    wait_until_published(cmp)

    assert before == again == {file_name(PROJECT): {bad: "ValueError: its name is NULL"}}
    assert status(host)[0]["quarantined"] == {}


def test_a_bad_entry_of_people_s_files_is_skipped_alone(cmp: Cmp, host: Host) -> None:
    """P6: the fault names its line, and the other entries apply. A fixed entry applies without a restart."""
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
    until(lambda: host.projects()[two]["notes"] == "mended", "the fixed entry applies")

    assert "LOCAL_OVERRIDES_V1.yaml:2" in fault["fault"]
    assert first == "noted"
    assert host.projects()[one]["notes"] == "noted"
    assert file_name(INVENTORY) not in status(host)[0]["held"]
