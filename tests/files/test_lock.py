"""The lock on the root: one process publishes. A second process is refused, and its error names the first."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.audit_hook import before_call

from omnicdc.errors import ConfigError, LockBusy
from omnicdc.files.lock import LOCK, RootLock

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import sys
from pathlib import Path
from omnicdc.files.lock import RootLock

with RootLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_the_error_names_the_first(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(LockBusy) as caught, RootLock(tmp_path):
        pass

    host = os.uname().nodename
    assert caught.value.message == f"process {holder.pid} on {host} already publishes below {tmp_path}"
    assert f"`kill {holder.pid}`" in caught.value.hint


def test_the_lock_ends_when_its_process_is_killed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()

    with RootLock(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()} {os.uname().nodename}\n"


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    lock = RootLock(tmp_path)
    with lock, pytest.raises(LockBusy), RootLock(tmp_path):
        pass
    with lock:
        pass
    with RootLock(tmp_path):
        pass


def test_a_lock_whose_file_was_removed_is_taken_again(tmp_path: Path) -> None:
    with RootLock(tmp_path) as lock:
        (tmp_path / LOCK).unlink()

        assert lock.kept()
        assert (tmp_path / LOCK).exists()
        with pytest.raises(LockBusy), RootLock(tmp_path):
            pass


def test_a_lock_whose_file_was_removed_is_lost_to_a_faster_process(tmp_path: Path) -> None:
    with RootLock(tmp_path) as lock:
        (tmp_path / LOCK).unlink()
        with RootLock(tmp_path) as other:
            assert (lock.kept(), other.kept(), lock.kept()) == (False, True, False)
        assert lock.kept()


def test_a_lock_is_kept_while_no_process_can_take_it(tmp_path: Path) -> None:
    """The directory is gone, and a file is in its place. No other process can publish there, either."""
    with RootLock(tmp_path) as lock:
        shutil.rmtree(tmp_path / "governance")
        (tmp_path / "governance").touch()
        assert lock.kept()
        (tmp_path / "governance").unlink()
        assert lock.kept()

        with pytest.raises(LockBusy), RootLock(tmp_path):
            pass


def test_a_lock_file_with_invalid_content_can_be_locked(tmp_path: Path) -> None:
    (tmp_path / LOCK).parent.mkdir(parents=True)
    (tmp_path / LOCK).write_bytes(b"\xff" * 5000)

    with RootLock(tmp_path), pytest.raises(LockBusy, match=f"process {os.getpid()} on "), RootLock(tmp_path):
        pass


def test_a_missing_root_is_an_error_with_the_remedy_and_is_not_made(tmp_path: Path) -> None:
    root = tmp_path / "gone root"

    with pytest.raises(ConfigError) as caught, RootLock(root):
        pass

    assert caught.value.message == f"cannot publish below {root}: No such file or directory"
    assert caught.value.hint == f"`mkdir -p '{root}'`, or name another root: --root DIR or OMNICDC_ROOT"
    assert not root.exists()


def test_a_root_that_is_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="Not a directory - remove the file"), RootLock(tmp_path / "file"):
        pass


def test_a_registry_directory_outside_of_the_root_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "governance").symlink_to(tmp_path)

    with pytest.raises(ConfigError, match="leads out of"), RootLock(tmp_path / "root"):
        pass


def test_a_root_without_write_permission_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    root_only = os.geteuid() == 0
    if root_only:
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match=r"Permission denied - `chown .*`"), RootLock(tmp_path):
            pass
    finally:
        if root_only:
            os.seteuid(0)
        tmp_path.chmod(0o700)


def test_only_its_owner_may_open_the_lock_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with RootLock(tmp_path):
            assert stat.S_IMODE((tmp_path / LOCK).stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.fixture
def readable(tmp_path: Path) -> Path:
    """A lock file that every local user may read, with the name of a process that has ended."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (tmp_path / LOCK).parent.mkdir(parents=True)
    (tmp_path / LOCK).write_text(f"{ended.pid} {os.uname().nodename}\n")
    (tmp_path / LOCK).chmod(0o644)
    return tmp_path / LOCK


def test_a_reader_of_the_lock_file_cannot_block_the_lock(tmp_path: Path, readable: Path) -> None:
    """Neither with a lock that it holds already, nor with a file that it opened before."""
    owner = readable.stat().st_uid
    with readable.open() as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        with RootLock(tmp_path), pytest.raises(LockBusy), RootLock(tmp_path):
            pass
        with RootLock(tmp_path):
            pass

    assert stat.S_IMODE(readable.stat().st_mode) == 0o600
    assert readable.stat().st_uid == owner
    assert list(readable.parent.iterdir()) == [readable]


def test_a_readable_lock_file_is_replaced_when_it_is_locked(tmp_path: Path, readable: Path) -> None:
    with readable.open() as reader:
        with RootLock(tmp_path) as lock:
            fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)  # this file is no longer the lock
            assert lock.kept()
        with RootLock(tmp_path):
            pass


def test_a_readable_lock_of_an_earlier_version_is_respected(tmp_path: Path, readable: Path) -> None:
    readable.write_text(f"{os.getpid()} {os.uname().nodename}\n")
    with readable.open("r+") as earlier:
        fcntl.flock(earlier, fcntl.LOCK_EX)
        with (
            pytest.raises(LockBusy, match=f"process {os.getpid()} on .* already publishes"),
            RootLock(tmp_path),
        ):
            pass


def test_a_readable_lock_of_another_host_is_respected(tmp_path: Path, readable: Path) -> None:
    readable.write_text("1 elsewhere\n")
    with readable.open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockBusy, match="on elsewhere"), RootLock(tmp_path):
            pass


@pytest.mark.skipif(
    not Path("/proc/locks").exists(), reason="the kernel does not show which process holds a lock"
)
def test_the_holder_is_the_process_that_the_kernel_names(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    (tmp_path / LOCK).write_text(f"1 {os.uname().nodename}\n")

    with pytest.raises(LockBusy) as caught, RootLock(tmp_path):
        pass

    assert caught.value.message.endswith(f"; here, process {holder.pid} holds its lock")
    assert f"`kill {holder.pid}`, or `rm {tmp_path / LOCK}`" in caught.value.hint


def test_a_lock_file_removed_just_before_the_lock_is_made_again(tmp_path: Path) -> None:
    """Otherwise two processes could lock two files with the same name."""
    with (
        before_call("fcntl.flock", fcntl.LOCK_EX | fcntl.LOCK_NB, (tmp_path / LOCK).unlink),
        RootLock(tmp_path),
        pytest.raises(LockBusy),
        RootLock(tmp_path),
    ):
        pass
