"""The lock on the root: one process publishes, a second one is told who does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from omnicdc.errors import ConfigError, LockBusy
from omnicdc.lock import LOCK, RootLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from omnicdc.lock import RootLock

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


def test_a_second_process_is_told_who_publishes(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockBusy) as caught, RootLock(tmp_path):
        pass

    host = os.uname().nodename
    assert caught.value.message == f"process {holder.pid} on {host} already publishes below {tmp_path}"
    assert f"`kill {holder.pid}`" in caught.value.hint


def test_the_lock_ends_with_its_process_however_that_ends(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait()

    with RootLock(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()} {os.uname().nodename}\n"


def test_it_can_be_taken_again_after_it_was_left(tmp_path: Path) -> None:
    lock = RootLock(tmp_path)
    with lock, pytest.raises(LockBusy), RootLock(tmp_path):
        pass
    with lock:
        pass
    with RootLock(tmp_path):
        pass


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path: Path) -> None:
    with RootLock(tmp_path) as lock:
        (tmp_path / LOCK).unlink()

        assert lock.kept()
        assert (tmp_path / LOCK).exists()
        with pytest.raises(LockBusy), RootLock(tmp_path):
            pass


def test_a_lock_whose_file_was_removed_is_lost_to_who_was_quicker(tmp_path: Path) -> None:
    with RootLock(tmp_path) as lock:
        (tmp_path / LOCK).unlink()
        with RootLock(tmp_path) as other:
            assert (lock.kept(), other.kept(), lock.kept()) == (False, True, False)
        assert lock.kept()


def test_a_lock_is_kept_where_nobody_can_take_it(tmp_path: Path) -> None:
    """The directory is gone, and a file stands in its place: nobody else publishes there, either."""
    with RootLock(tmp_path) as lock:
        shutil.rmtree(tmp_path / "governance")
        (tmp_path / "governance").touch()
        assert lock.kept()
        (tmp_path / "governance").unlink()
        assert lock.kept()

        with pytest.raises(LockBusy), RootLock(tmp_path):
            pass


def test_a_lock_file_with_nonsense_in_it_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / LOCK).parent.mkdir(parents=True)
    (tmp_path / LOCK).write_bytes(b"\xff" * 5000)

    with RootLock(tmp_path), pytest.raises(LockBusy, match=f"process {os.getpid()} on "), RootLock(tmp_path):
        pass


def test_a_missing_root_is_told_with_the_mend_and_not_made(tmp_path: Path) -> None:
    root = tmp_path / "gone root"

    with pytest.raises(ConfigError) as caught, RootLock(root):
        pass

    assert caught.value.message == f"cannot publish below {root}: No such file or directory"
    assert caught.value.hint == f"`mkdir -p '{root}'`, or name another root: --root DIR or OMNICDC_ROOT"
    assert not root.exists()


def test_a_root_that_is_a_file_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="Not a directory - remove the file"), RootLock(tmp_path / "file"):
        pass


def test_a_registry_directory_outside_of_the_root_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "governance").symlink_to(tmp_path)

    with pytest.raises(ConfigError, match="leads out of"), RootLock(tmp_path / "root"):
        pass


def test_a_root_that_may_not_be_written_to_is_told_with_the_mend(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    root_only = os.geteuid() == 0
    if root_only:
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match=r"Permission denied - `chown -R .*`"), RootLock(tmp_path):
            pass
    finally:
        if root_only:
            os.seteuid(0)
        tmp_path.chmod(0o700)
