"""Publishing: a reader finds a whole file, the old one or the new one, whatever happens (P2, P3, P6, P8)."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rights import another_user

from omnicdc.errors import RegistryError
from omnicdc.filesystem import atomic
from omnicdc.filesystem.atomic import replace, stage
from omnicdc.filesystem.remedy import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = Path("governance/registry/uuid/canonical.json")
STEPS = ["open", "write", "fsync", "rename", "fsync_directory"]
OLD, NEW = b"old content\n", b"new content, longer\n"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the owner of a file")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of FILE below tmp_path. The file holds OLD."""
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(OLD)
    return file


def failing(at: str, code: int) -> Callable[[str], None]:
    """Return an observer that raises an error at a step."""

    def observe(step: str) -> None:
        if step == at:
            raise OSError(code, os.strerror(code))

    return observe


def leftovers(target: Path) -> list[str]:
    """Return the names of the other files in the target's directory."""
    return [it.name for it in target.parent.iterdir() if it.name != target.name]


def test_a_new_file_is_written_with_its_directories(tmp_path: Path) -> None:
    put = replace(tmp_path, FILE, [b"{", memoryview(b"a b"), b"", b"}"])

    assert (tmp_path / FILE).read_bytes() == b"{a b}"
    found = (tmp_path / FILE).stat()
    assert (put.st_size, put.st_mtime_ns, put.st_ino) == (found.st_size, found.st_mtime_ns, found.st_ino)


def test_the_steps_come_in_the_order_that_makes_the_file_durable(tmp_path: Path) -> None:
    seen: list[str] = []

    replace(tmp_path, FILE, [NEW], seen.append)

    assert seen == STEPS


def test_more_parts_than_one_writev_takes_are_all_written(tmp_path: Path) -> None:
    parts = [str(number).encode() * 3 for number in range(3 * atomic.MOST_PARTS + 7)]

    replace(tmp_path, FILE, parts)

    assert (tmp_path / FILE).read_bytes() == b"".join(parts)


def test_no_parts_make_an_empty_file(target: Path, tmp_path: Path) -> None:
    replace(tmp_path, FILE, [])

    assert target.read_bytes() == b""


@given(st.lists(st.binary(min_size=1, max_size=8)), st.data())
def test_the_rest_of_a_partial_write_is_written_next(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    written = data.draw(st.integers(0, len(whole)))

    left = atomic._skip([memoryview(part) for part in parts], written)

    assert b"".join(left) == whole[written:]
    assert all(left)


def test_a_reader_always_finds_a_whole_file(target: Path, tmp_path: Path) -> None:
    """P2: the reader reads without a pause."""
    contents = [bytes([letter]) * 300_000 for letter in b"abc"]
    replace(tmp_path, FILE, [contents[0]])
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        content = contents[turn % 3]
        replace(tmp_path, FILE, [content[:100_000], content[100_000:]])
    done.set()
    reader.join()

    assert seen <= set(contents)
    assert seen


def test_the_mode_is_kept_and_the_temporary_file_is_never_more_open(target: Path, tmp_path: Path) -> None:
    target.chmod(0o640)
    modes: list[int] = []

    def observe(step: str) -> None:
        if step == "write":
            modes.append(stat.S_IMODE(target.with_name(f".{target.name}{TEMPORARY}").stat().st_mode))

    replace(tmp_path, FILE, [NEW], observe)

    assert modes == [0o600]
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o000, 0o644), (0o077, 0o600)])
def test_all_users_may_read_a_new_file_unless_the_umask_forbids_it(
    tmp_path: Path, umask: int, expected: int
) -> None:
    before = os.umask(umask)
    try:
        replace(tmp_path, FILE, [NEW])
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == expected


@as_root
def test_owner_and_group_are_kept(target: Path, tmp_path: Path) -> None:
    os.chown(target, 65534, 65533)

    replace(tmp_path, FILE, [NEW])

    assert (target.stat().st_uid, target.stat().st_gid) == (65534, 65533)


@pytest.fixture
def public() -> Iterator[Path]:
    """A root that every user may reach. pytest's own directories are private."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / FILE).parent.mkdir(parents=True)
        (root / FILE).write_bytes(OLD)
        yield root


@as_root
def test_an_owner_that_cannot_be_kept_is_no_failure(public: Path) -> None:
    (public / FILE).parent.chmod(0o777)

    with another_user():
        replace(public, FILE, [NEW])

    assert (public / FILE).read_bytes() == NEW
    assert (public / FILE).stat().st_uid == 65534


def test_a_directory_without_write_permission_is_an_error_with_the_remedy(public: Path) -> None:
    (public / FILE).parent.chmod(0o555)

    with another_user(), pytest.raises(RegistryError) as caught:
        replace(public, FILE, [NEW])

    (public / FILE).parent.chmod(0o755)
    assert caught.value.message == f"cannot write {public / FILE}: Permission denied"
    assert caught.value.hint.startswith("`chown ")
    assert caught.value.hint.endswith(f" {(public / FILE).parent}`")
    assert (public / FILE).read_bytes() == OLD


@as_root
def test_a_user_without_a_name_is_shown_by_number(public: Path) -> None:
    """Containers run as such users."""
    with another_user(54321), pytest.raises(RegistryError) as caught:
        replace(public, FILE, [NEW])

    assert caught.value.hint.startswith("`chown 54321 ")


def test_a_missing_root_is_not_made(tmp_path: Path) -> None:
    """An unmounted disk must not be replaced by a directory."""
    with pytest.raises(RegistryError, match="No such file or directory - make or mount the root"):
        replace(tmp_path / "gone", FILE, [NEW])

    assert not (tmp_path / "gone").exists()


def test_a_symlink_in_place_of_the_file_is_replaced_and_not_followed(target: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(OLD)
    target.unlink()
    target.symlink_to(elsewhere)

    replace(tmp_path, FILE, [NEW])

    assert not target.is_symlink()
    assert target.read_bytes() == NEW
    assert elsewhere.read_bytes() == OLD


def test_the_root_may_be_a_symlink_and_links_inside_it_may_stay_inside(target: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (target.parent / "shortcut").symlink_to("../projects")

    replace(tmp_path / "link", FILE, [NEW])
    replace(tmp_path / "link", FILE.parent / "shortcut" / "b", [NEW])

    assert target.read_bytes() == NEW
    assert (tmp_path / "governance/registry/projects/b").read_bytes() == NEW


@pytest.mark.parametrize("link", ["governance", "governance/registry/uuid"])
def test_a_directory_that_leads_out_of_the_root_is_refused(tmp_path: Path, link: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside)

    with pytest.raises(RegistryError, match=r"leads out of .*/root, to .*/outside.* - put a directory"):
        replace(root, FILE, [NEW])

    assert list(outside.iterdir()) == []


def test_a_path_that_climbs_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()

    with pytest.raises(RegistryError, match="leads out"):
        replace(tmp_path / "root", "../stolen", [NEW])

    assert not (tmp_path / "stolen").exists()


def test_an_external_change_at_the_last_moment_is_not_lost(target: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"by hand")

    with stage(tmp_path, FILE, [NEW]) as staged:
        other.rename(target)
        staged.swap()
        found = staged.replaced.read_bytes()

    assert found == b"by hand"
    assert target.read_bytes() == NEW
    assert leftovers(target) == []


def test_a_file_that_is_deleted_at_the_last_moment_is_written(target: Path, tmp_path: Path) -> None:
    with stage(tmp_path, FILE, [NEW]) as staged:
        target.unlink()
        staged.swap()

    assert target.read_bytes() == NEW
    assert leftovers(target) == []


def test_a_directory_replaced_by_a_symlink_during_a_write_is_not_followed(
    target: Path, tmp_path: Path
) -> None:
    """The directory stays open. The symlink replaces its name, not the directory that is written to."""
    outside, moved = tmp_path / "outside", target.parent.with_name("moved")
    outside.mkdir()

    def observe(step: str) -> None:
        if step == "open":
            target.parent.rename(moved)
            target.parent.symlink_to(outside)

    replace(tmp_path, FILE, [NEW], observe)

    assert list(outside.iterdir()) == []
    assert (moved / target.name).read_bytes() == NEW


def test_a_directory_in_place_of_the_file_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / FILE / "precious").mkdir(parents=True)

    with pytest.raises(RegistryError, match=r"cannot write .*: Is a directory - `mv .*canonical.json.aside`"):
        replace(tmp_path, FILE, [NEW])

    assert (tmp_path / FILE / "precious").is_dir()


def test_the_temporary_file_of_a_killed_process_is_replaced_even_a_symlink(
    target: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    target.with_name(f".{target.name}{TEMPORARY}").symlink_to(victim)

    replace(tmp_path, FILE, [NEW])

    assert (target.read_bytes(), victim.read_bytes()) == (NEW, OLD)
    assert leftovers(target) == []


@pytest.mark.parametrize(
    ("code", "remedy_part"),
    [
        (errno.ENOSPC, "free space on "), (errno.EDQUOT, "quota"), (errno.EROFS, "remount,rw"),
        (errno.EACCES, "chown"), (errno.EPERM, "lsattr"), (errno.EIO, "dmesg"), (errno.EMFILE, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_a_whole_file_and_nothing_else(
    target: Path, tmp_path: Path, step: str, code: int, remedy_part: str
) -> None:
    """P2, P6: for each step and each error. The next attempt succeeds."""
    with pytest.raises(RegistryError) as caught:
        replace(tmp_path, FILE, [NEW], failing(step, code))

    assert target.read_bytes() == (NEW if step == "fsync_directory" else OLD)
    assert leftovers(target) == []
    assert str(target) in caught.value.message
    assert os.strerror(code) in caught.value.message
    assert remedy_part in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)
    replace(tmp_path, FILE, [NEW])
    assert target.read_bytes() == NEW


def test_an_interruption_leaves_the_old_file_and_nothing_else(target: Path, tmp_path: Path) -> None:
    def observe(step: str) -> None:
        if step == "fsync":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(tmp_path, FILE, [NEW], observe)

    assert leftovers(target) == []
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_before_any_step_leaves_a_whole_file(
    target: Path, tmp_path: Path, step: str
) -> None:
    """P2, P8: the next process completes the work, and no temporary file stays."""
    code = (
        "import os, signal, sys; from pathlib import Path; from omnicdc.filesystem.atomic import replace;"
        "step = sys.argv[1];"
        "replace(Path(sys.argv[2]), sys.argv[3], [sys.argv[4].encode()],"
        "    lambda it: os.kill(os.getpid(), signal.SIGKILL) if it == step else None)"
    )

    ended = subprocess.run([sys.executable, "-c", code, step, tmp_path, FILE, NEW], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert target.read_bytes() == (NEW if step == "fsync_directory" else OLD)
    replace(tmp_path, FILE, [NEW])
    assert target.read_bytes() == NEW
    assert leftovers(target) == []


def test_a_partial_write_continues_and_its_error_is_reported(target: Path, tmp_path: Path) -> None:
    """The limit lets the kernel accept a part of one writev, and nothing of the next one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(RegistryError, match=r"File too large - .*ulimit -f"):
            replace(tmp_path, FILE, [b"x" * 4000] * 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert target.read_bytes() == OLD
    assert leftovers(target) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "omnicdc-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_fails_the_write_until_there_is_space(small_disk: Path) -> None:
    """P6: the disk is really full."""
    replace(small_disk, FILE, [OLD])
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 200 * 1024)
    big = [b"y" * 1000] * 100

    with pytest.raises(RegistryError) as caught:
        replace(small_disk, FILE, big)

    assert caught.value.hint.startswith(f"free space on {small_disk}: `df -h {small_disk}`")
    assert (small_disk / FILE).read_bytes() == OLD
    assert leftovers(small_disk / FILE) == []
    filler.unlink()
    replace(small_disk, FILE, big)
    assert (small_disk / FILE).read_bytes() == b"".join(big)


def test_a_disk_mounted_read_only_is_an_error_with_the_remedy(small_disk: Path) -> None:
    replace(small_disk, FILE, [OLD])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(RegistryError) as caught:
        replace(small_disk, FILE, [NEW])

    assert caught.value.hint.endswith(f"`mount -o remount,rw {small_disk}`")
    assert (small_disk / FILE).read_bytes() == OLD
