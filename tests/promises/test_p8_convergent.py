"""P8: from any state of the files, a start, a poll or a sweep leads to the correct files without help."""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.external_changes import replace_atomically
from support.host import CANONICAL, INVENTORY, PROJECT, REGISTRIES, Daemon, Host, until
from support.rebuild import assert_as_rebuilt, rebuilt

from omnicdc.daemon.once import run_to_the_end
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.cmp import Cmp

MANIFEST = "governance/registry/omnicdc_manifest.json"


def gone(host: Host) -> None:
    for name in REGISTRIES:
        (host.root / name).unlink()


def emptied(host: Host) -> None:
    for name in REGISTRIES:
        os.truncate(host.root / name, 0)


def cut(host: Host) -> None:
    for name in REGISTRIES:
        os.truncate(host.root / name, 100)


def edited(host: Host) -> None:
    for name in REGISTRIES:
        (host.root / name).write_bytes(host.raw(name).replace(b"project-1", b"project-X"))


def edited_with_the_same_time(host: Host) -> None:
    """Size, inode and time are as before: only a reader of the content finds the edit."""
    for name in REGISTRIES:
        path = host.root / name
        stat = path.stat()
        with path.open("r+b") as file:
            file.write(host.raw(name).replace(b"project-1", b"project-X"))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def linked(host: Host) -> None:
    elsewhere = host.root.parent / "elsewhere"
    elsewhere.write_text("not ours")
    for name in REGISTRIES:
        (host.root / name).unlink()
        (host.root / name).symlink_to(elsewhere)


def linked_to_nothing(host: Host) -> None:
    for name in REGISTRIES:
        (host.root / name).unlink()
        (host.root / name).symlink_to("/nowhere/at/all")


def directories(host: Host) -> None:
    for name in REGISTRIES:
        (host.root / name).unlink()
        (host.root / name / "inside").mkdir(parents=True)


def pipes(host: Host) -> None:
    """A reader that opens a pipe waits for a writer, without end."""
    for name in REGISTRIES:
        (host.root / name).unlink()
        os.mkfifo(host.root / name)


def leftovers(host: Host) -> None:
    """A killed writer leaves half a temporary file. Here the registries are cut as well."""
    for name in REGISTRIES:
        path = host.root / name
        path.with_name(f".{path.name}.omnicdc-tmp").write_bytes(b"half of it")
        os.truncate(path, 50)


def no_tree(host: Host) -> None:
    move_away(host.root / "governance", host)


def no_manifest(host: Host) -> None:
    (host.root / MANIFEST).unlink()
    edited(host)


def no_state(host: Host) -> None:
    host.state.rename(host.state.with_name("lost"))  # in one step: the daemon may be writing into it
    shutil.rmtree(host.state.with_name("lost"), ignore_errors=True)
    edited(host)


def garbled_manifest(host: Host) -> None:
    (host.root / MANIFEST).write_bytes(b'{"version": 1, "registries": 7}')
    cut(host)


def restored_from_a_backup(host: Host) -> None:
    """Files and manifest are as they were before the last change."""
    move_away(host.root, host)
    shutil.copytree(host.root.parent / "backup", host.root, symlinks=True)


def move_away(tree: Path, host: Host) -> None:
    """Move a directory away in one step: the daemon may be writing its manifest there."""
    tree.rename(host.root.parent / f"away{len([*host.root.parent.iterdir()])}")


DAMAGES: list[Callable[[Host], None]] = [
    gone, emptied, cut, edited, linked, linked_to_nothing, directories, pipes, leftovers, no_tree,
    no_manifest, no_state, garbled_manifest, restored_from_a_backup,
]  # fmt: skip


def served(cmp: Cmp, host: Host, **env: str) -> tuple[Daemon, dict[str, bytes]]:
    """Start a daemon that publishes 30 projects, then one more. Return it and the correct files."""
    cmp.fill(30)
    daemon = host.daemon(**env)
    shutil.copytree(host.root, host.root.parent / "backup")
    cmp.upsert("the last change", github_url="https://github.com/acme/last")
    cmp.arrived()
    return daemon, host.content()


def are_correct(host: Host, content: dict[str, bytes]) -> bool:
    """Return whether the registries are regular files with this content, and no temporary files exist."""
    regular = all((host.root / name).is_file() and not (host.root / name).is_symlink() for name in REGISTRIES)
    return regular and host.content() == content and not [*host.root.rglob("*.omnicdc-tmp")]


def test_a_start_converges(cmp: Cmp, host: Host) -> None:
    """P8: it repairs each kind of damage, one after the other."""
    daemon, content = served(cmp, host)
    daemon.kill()

    for damage in [*DAMAGES, edited_with_the_same_time]:
        damage(host)
        run_to_the_end(host.config(), Stop(), lambda _point: None)
        assert are_correct(host, content), damage.__name__
        assert (host.root / MANIFEST).is_file(), damage.__name__


def test_a_poll_converges(cmp: Cmp, host: Host) -> None:
    """P8: it finds each kind of damage without a change in CMP.

    The manifest is written again, too, and the daemon continues to publish.
    """
    _, content = served(cmp, host, OMNICDC_POLL_S="0.05")

    for damage in DAMAGES:
        damage(host)
        until(partial(are_correct, host, content), damage.__name__)
        until((host.root / MANIFEST).exists, f"the manifest after {damage.__name__}")
        cmp.upsert(damage.__name__)
        cmp.arrived()
        content = host.content()
        assert damage.__name__ in str(host.canonical())


def test_a_sweep_finds_an_edit_that_polls_cannot_find(cmp: Cmp, host: Host) -> None:
    """P8: size, inode and time are as before. The sweep reads the files."""
    _, content = served(cmp, host, OMNICDC_POLL_S="0.05", OMNICDC_SWEEP_S="0.1")
    edited_with_the_same_time(host)

    until(lambda: are_correct(host, content), "the sweep")
    assert len([*(host.state / "drift").iterdir()]) == 3


def test_a_sweep_finds_changes_that_are_not_in_the_log(cmp: Cmp, host: Host) -> None:
    """P8: rows change while the triggers are disabled."""
    _, _ = served(cmp, host, OMNICDC_POLL_S="0.05", OMNICDC_SWEEP_S="0.1")
    cmp.conn.execute("alter table projects disable trigger user")
    cmp.conn.execute("update projects set status = 'silent' where key like 'key-1%'")
    cmp.conn.execute("alter table projects enable always trigger omnicdc_log_row")
    wanted = rebuilt(cmp)

    until(lambda: host.content() == wanted, "the sweep")


def test_an_external_change_is_backed_up(cmp: Cmp, host: Host) -> None:
    """P8: with `on_drift: restore` it is also reported and counted, and the file is restored."""
    daemon, content = served(cmp, host, OMNICDC_POLL_S="0.05")
    replace_atomically(host.root / PROJECT, "projects: mine\n")
    event = daemon.wait_for("drift_found")
    until(lambda: are_correct(host, content), "restored")
    cmp.upsert("the next generation reports it")
    cmp.arrived()
    [backup] = (host.state / "drift").iterdir()

    assert backup.read_text() == "projects: mine\n"
    assert event["kept"] == str(backup)
    assert cmp.consumer("host")["registries"][PROJECT]["drifted"] == 1


def replace(path: Path) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(b"by a user")
    beside.replace(path)


def overwrite(path: Path) -> None:
    path.write_bytes(b"by a user")


def make_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "within").write_bytes(b"by a user")


@pytest.mark.parametrize("change", [replace, overwrite, make_a_directory])
def test_an_external_change_between_the_last_look_and_the_rename_is_backed_up(
    cmp: Cmp, host: Host, change: Callable[[Path], None]
) -> None:
    """P8: a plain rename would destroy the changed file."""
    cmp.fill(5)
    run_to_the_end(host.config(), Stop(), lambda _point: None)
    cmp.upsert("one more")

    def observe(point: str) -> None:
        if point == "rename cmp_projects":
            change(host.root / CANONICAL)

    run_to_the_end(host.config(), Stop(), observe)

    places = [host.state / "drift", (host.root / CANONICAL).parent]
    found = [file.read_bytes() for place in places for file in place.rglob("*") if file.is_file()]
    assert found.count(b"by a user") == 1
    assert len(host.canonical()) == 6
    assert not [*host.root.rglob(".*.omnicdc-tmp")]


def test_with_alert_an_externally_changed_file_stays_until_the_registry_changes(cmp: Cmp, host: Host) -> None:
    """P8: it stays through polls, sweeps and a restart.

    It is reported once in each session, and backed up when it is replaced.
    """
    env = {"OMNICDC_ON_DRIFT": "alert", "OMNICDC_POLL_S": "0.05", "OMNICDC_SWEEP_S": "0.05"}
    daemon, _ = served(cmp, host, **env)
    replace_atomically(host.root / PROJECT, "projects: mine\n")
    daemon.wait_for("drift_found")
    # The type is spelled differently: this changes only the canonical registry.
    cmp.set(cmp.value("select id::text from projects limit 1"), type="Service")
    cmp.arrived()
    (host.root / CANONICAL).unlink()
    until((host.root / CANONICAL).exists, "a missing file is written again, with alert as well")
    reported = [event["registry"] for event in daemon.events if event["event"] == "drift_found"]
    daemon.stop()
    daemon = host.daemon(**env)
    daemon.wait_for("drift_found")
    stayed = host.raw(PROJECT)
    cmp.upsert("now it changes")
    cmp.arrived()
    copies = [
        copy.read_text() for copy in (host.state / "drift").iterdir() if copy.name.startswith("PROJECT")
    ]

    again = [event["registry"] for event in daemon.events if event["event"] == "drift_found"]

    assert reported.count("PROJECT_REGISTRY_V1.yaml") == 1
    assert again == ["PROJECT_REGISTRY_V1.yaml"]
    assert stayed == b"projects: mine\n"
    assert "now it changes" in host.raw(PROJECT).decode()
    assert set(copies) == {"projects: mine\n"}


@pytest.mark.parametrize(
    "stored",
    [
        "timeline = 77, snapshot = '9000000000:9000000010:9000000003', generation = 99",
        pytest.param("system_identifier = 1", marks=pytest.mark.campaign),
        pytest.param("snapshot = '9000000000:9000000000:'", marks=pytest.mark.campaign),
    ],
)
def test_a_database_of_another_cluster_is_scanned_in_full(cmp: Cmp, host: Host, stored: str) -> None:
    """P8: the database was restored elsewhere, or failed over.

    The consumer's stored snapshot means nothing in this cluster.
    """
    daemon, _ = served(cmp, host)
    daemon.stop()
    cmp.conn.execute(f"update omnicdc.consumer set {stored}")
    cmp.conn.execute("update projects set status = 'restored'")
    daemon = host.daemon()
    daemon.wait_for("snapshot_of_another_cluster")
    cmp.upsert("and goes on")
    verdict = cmp.arrived()

    assert verdict.status == "published"
    assert_as_rebuilt(cmp, host)


def test_a_start_converges_without_state_directory_and_inventory(cmp: Cmp, host: Host) -> None:
    """P8: a directory has the inventory's place, so there is nothing to adopt it from."""
    daemon, content = served(cmp, host)
    daemon.kill()
    shutil.rmtree(host.state)
    (host.root / INVENTORY).unlink()
    (host.root / INVENTORY).mkdir()
    answer = host.run("run", "--once", "--json")

    assert answer.returncode == 0, answer.stderr
    assert are_correct(host, content)
