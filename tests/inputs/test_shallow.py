"""The quick look at a workspace root finds what the walk would find there. It reads only what changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.inputs.clones import clone_key, find_clones
from omnicdc.inputs.heart import count_heart, count_heart_of
from omnicdc.inputs.shallow import ShallowSearch
from omnicdc.inputs.watches import Watches
from omnicdc.inputs.workspaces import RootClones, merged
from omnicdc.stop import Stop

if TYPE_CHECKING:
    import pytest

HOST = "https://github.com/acme"
OLD_NS = 10**18


def fake_clone(path: Path, name: str) -> str:
    (path / ".git").mkdir(parents=True)
    set_remote(path, name)
    return str(path)


def set_remote(path: Path, name: str) -> None:
    """Set the remote of a clone as git does: by renaming a new file over the old one."""
    lock = path / ".git/config.lock"
    lock.write_text(f'[remote "origin"]\n\turl = {HOST}/{name}\n')
    lock.rename(path / ".git/config")


def found_clones(look: ShallowSearch, *known: str) -> dict[str, str]:
    """Return the clones that a look finds, with their repository names."""
    return {path: key.removeprefix(f"{HOST}/") for path, key in look(known).items()}


def make_old(top: Path) -> None:
    """Make all files so old that a look remembers them."""
    for path in (top, *top.rglob("*")):
        os.utime(path, ns=(OLD_NS, OLD_NS), follow_symlinks=False)


def test_a_look_finds_clones_two_levels_down_and_known_clones_at_any_depth(tmp_path: Path) -> None:
    top, first, second = tmp_path / "ws", tmp_path / "ws/one", tmp_path / "ws/a/two"
    shown = {fake_clone(first, "one"): "one", fake_clone(second, "two"): "two"}
    deep = fake_clone(top / "a/b/c/three", "three")
    fake_clone(top / "omni/artifacts", "four")
    look = ShallowSearch(top, frozenset())

    assert found_clones(look) == shown
    assert found_clones(look, deep, f"{top}/gone") == {**shown, deep: "three", f"{top}/gone": ""}


def test_only_changed_clones_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = fake_clone(tmp_path / "a/one", "one")
    make_old(tmp_path)
    look = ShallowSearch(tmp_path, frozenset())
    look()
    read: list[str] = []

    def counted(path: str) -> str:
        read.append(path)
        return clone_key(path)

    monkeypatch.setattr("omnicdc.inputs.shallow.clone_key", counted)
    unchanged = found_clones(look)
    set_remote(Path(one), "other")
    two = fake_clone(tmp_path / "a/two", "two")
    changed = found_clones(look)

    assert unchanged == {one: "one"}
    assert changed == {one: "other", two: "two"}
    assert sorted(read) == [one, two]


def test_a_change_within_one_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    """A directory that changed just before it was listed may change again and have the same time."""
    (tmp_path / "a").mkdir()
    look = ShallowSearch(tmp_path, frozenset())
    look()
    before = (tmp_path / "a").stat()
    one = fake_clone(tmp_path / "a/one", "one")
    os.utime(tmp_path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert found_clones(look) == {one: "one"}


def test_a_look_corrects_the_walk_before_it(tmp_path: Path) -> None:
    moved, deep, new = "/ws/moved", "/ws/a/b/c/one", "/ws/one"
    walked = {"moved": moved, "one": deep}

    root = RootClones(walked, {moved: "", deep: "one", new: "one"})

    assert root.clones() == {"one": new}
    assert merged([RootClones({"one": "/first/a/b/c"}), root]) == {"one": "/first/a/b/c"}
    assert find_clones([tmp_path / "none"], Stop()) == {}


def test_the_heart_of_one_clone_equals_its_part_of_the_whole_count(tmp_path: Path) -> None:
    for where in ("a/one", "a/one/inner", ".cache/two", "federation_heart/three"):
        fake_clone(tmp_path / where, "x")
        (tmp_path / where / "beat.py").write_text("from federation_heart import beat\n")

    whole = count_heart(tmp_path, Stop())
    parts = {
        path: number
        for where in ("a/one", ".cache/two", "federation_heart/three")
        for path, number in count_heart_of(f"{tmp_path}/{where}", tmp_path, Stop()).items()
    }

    assert parts == whole
    assert len(whole) == 2
    assert count_heart_of("/elsewhere", tmp_path, Stop()) == {}


def test_watches_report_the_root_in_which_a_clone_changed_or_appeared(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    one = Path(fake_clone(first / "one", "one"))
    second.mkdir()
    watches = Watches()
    try:
        grown = [watches.watch(0, [str(first), f"{one}/.git"]), watches.watch(1, [str(second)])]
        quiet = watches.wait(0)
        (first / "notes.txt").write_text("no clone")
        ordinary = watches.wait(0)
        set_remote(one, "other")
        set_url = watches.wait(0)
        (second / "two").mkdir()
        made = watches.wait(0)
        again = watches.watch(1, [str(second)])
        left = watches.watch(1, [])
        (second / "three").mkdir()
        unwatched = watches.wait(0)
    finally:
        watches.close()

    assert grown == [(True, ""), (True, "")]
    assert (quiet, ordinary, set_url, made) == (set(), set(), {0}, {1})
    assert (again, left, unwatched) == ((False, ""), (False, ""), set())


def test_a_missing_directory_is_not_watched_and_is_no_fault(tmp_path: Path) -> None:
    """A workspace may be created later. A second request must not look like a change."""
    watches = Watches()
    try:
        assert watches.watch(0, [str(tmp_path / "none"), str(tmp_path)]) == (True, "")
        assert watches.watch(0, [str(tmp_path / "none"), str(tmp_path)]) == (False, "")
    finally:
        watches.close()
    assert not watches.working
