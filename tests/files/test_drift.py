"""Drift: an external change is noticed, backed up, and never lost (P8)."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.audit_hook import before_call

from omnicdc.errors import RegistryError
from omnicdc.files.drift import back_up, intact, rehash
from omnicdc.files.manifest import describe
from omnicdc.filesystem.atomic import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.model import Published

FILE = Path("governance/registry/uuid/canonical.json")
PARTS = [b"header\n", b"", b"one\ntwo\n", b"footer"]
AT = datetime(2026, 11, 22, 20, 59, 55, 573397, tzinfo=UTC)


@pytest.fixture
def published(tmp_path: Path) -> Published:
    put = replace(tmp_path, FILE, PARTS)
    return describe([(len(part), sha256(part).hexdigest()) for part in PARTS], put, count=2, stamp="then")


def test_a_file_as_it_was_published_is_intact(tmp_path: Path, published: Published) -> None:
    assert intact(tmp_path, FILE, published)
    assert rehash(tmp_path, FILE, published)
    assert (published.count, published.size, published.stamp) == (2, 21, "then")


def edit(target: Path) -> None:
    target.write_bytes(target.read_bytes().replace(b"two", b"2wo"))


def edit_and_restore_the_time(target: Path) -> None:
    before = target.stat()
    edit(target)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def append(target: Path) -> None:
    with target.open("ab") as file:
        file.write(b"\n")


def truncate(target: Path) -> None:
    os.truncate(target, 3)


def link(target: Path) -> None:
    """A symlink to equal content is not the published file, either."""
    moved = target.rename(target.with_name("moved"))
    target.symlink_to(moved)


def remove_the_directory(target: Path) -> None:
    shutil.rmtree(target.parent)


def replace_the_directory_by_a_file(target: Path) -> None:
    shutil.rmtree(target.parent)
    target.parent.write_text("")


def replace_by_a_directory(target: Path) -> None:
    target.unlink()
    target.mkdir()


def replace_by_a_pipe(target: Path) -> None:
    target.unlink()
    os.mkfifo(target)


@pytest.mark.parametrize(
    "change",
    [
        edit, append, truncate, link, Path.unlink, remove_the_directory, replace_the_directory_by_a_file,
        replace_by_a_directory, replace_by_a_pipe,
    ],
)  # fmt: skip
def test_every_external_change_is_noticed(
    tmp_path: Path, published: Published, change: Callable[[Path], None]
) -> None:
    change(tmp_path / FILE)

    assert not intact(tmp_path, FILE, published)
    assert not rehash(tmp_path, FILE, published)


def test_an_edit_with_the_time_restored_is_noticed_by_reading(tmp_path: Path, published: Published) -> None:
    edit_and_restore_the_time(tmp_path / FILE)

    assert intact(tmp_path, FILE, published)
    assert not rehash(tmp_path, FILE, published)


def test_an_external_copy_with_equal_bytes_is_no_drift_once_it_is_read(
    tmp_path: Path, published: Published
) -> None:
    shutil.copyfile(tmp_path / FILE, tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / FILE)

    assert not intact(tmp_path, FILE, published)
    assert rehash(tmp_path, FILE, published)


def test_a_missing_file_is_not_backed_up(tmp_path: Path) -> None:
    assert back_up(tmp_path, FILE, tmp_path / "state", AT) is None
    assert not (tmp_path / "state").exists()


def test_a_changed_file_is_backed_up_and_stays_in_its_place(tmp_path: Path, published: Published) -> None:
    append(tmp_path / FILE)

    backup = back_up(tmp_path, FILE, tmp_path / "state", AT)

    assert backup == tmp_path / "state/drift/canonical.json.20261122T205955.573397Z"
    assert backup.read_bytes() == (tmp_path / FILE).read_bytes()
    assert backup.stat().st_size == published.size + 1


@pytest.mark.usefixtures("published")
def test_only_the_newest_backups_of_a_name_are_kept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "drift").mkdir(parents=True)
    others = {state / "drift/canonical.json.notes", state / "drift/other.json.20200101T000000.000000Z"}
    for other in others:
        other.write_text("theirs")

    backups = [back_up(tmp_path, FILE, state, AT + timedelta(seconds=n), keep=3) for n in range(6)]

    assert set((state / "drift").iterdir()) == {*backups[3:], *others}


@pytest.mark.usefixtures("published")
def test_a_new_backup_stays_even_if_the_clock_went_back(tmp_path: Path) -> None:
    state = tmp_path / "state"
    later = back_up(tmp_path, FILE, state, AT + timedelta(days=1), keep=1)

    backup = back_up(tmp_path, FILE, state, AT, keep=1)

    assert backup is not None
    assert list((state / "drift").iterdir()) == [backup]
    assert later != backup


def test_a_symlink_is_backed_up_as_a_symlink_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).symlink_to(tmp_path / "theirs")

    backup = back_up(tmp_path, FILE, tmp_path / "state", AT)
    replace(tmp_path, FILE, PARTS)

    assert backup is not None
    assert backup.readlink() == tmp_path / "theirs"
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_dangling_symlink_is_backed_up(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).symlink_to("nowhere")

    backup = back_up(tmp_path, FILE, tmp_path / "state", AT)

    assert backup is not None
    assert backup.readlink() == Path("nowhere")


def test_a_directory_is_backed_up_beside_itself_with_its_content(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir(parents=True)
    (tmp_path / FILE / "precious").write_text("theirs")

    backup = back_up(tmp_path, FILE, tmp_path / "state", AT)
    replace(tmp_path, FILE, PARTS)

    assert backup == tmp_path / FILE.parent / ".canonical.json.20261122T205955.573397Z.omnicdc-aside"
    assert (backup / "precious").read_text() == "theirs"
    assert (tmp_path / FILE).read_bytes() == b"".join(PARTS)


def test_a_failed_backup_is_an_error_and_changes_nothing(tmp_path: Path, published: Published) -> None:
    """After this error the file must not be restored: the external change would be lost."""
    (tmp_path / "state").write_text("a file in the way")

    with pytest.raises(RegistryError, match=r"cannot keep a copy of .*canonical\.json: "):
        back_up(tmp_path, FILE, tmp_path / "state", AT)

    assert intact(tmp_path, FILE, published)


@pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user")
def test_a_file_that_cannot_be_read_is_an_error_and_no_drift(tmp_path: Path, published: Published) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(RegistryError, match=r"cannot look at .*Permission denied - `chown "):
            intact(tmp_path, FILE, published)
        with pytest.raises(RegistryError, match=r"cannot read .*Permission denied"):
            rehash(tmp_path, FILE, published)
    finally:
        os.seteuid(0)


def test_a_link_replaced_during_its_backup_changes_nothing_outside(tmp_path: Path) -> None:
    """The backup is then a link to the precious file. The mode and time of that file must not change."""
    precious, target = tmp_path / "precious", tmp_path / FILE
    precious.write_text("precious")
    target.parent.mkdir(parents=True)
    target.symlink_to(precious)
    before = precious.stat()

    def replace_link() -> None:
        target.unlink()
        target.write_bytes(b"by hand")
        target.chmod(0o777)

    with before_call("os.symlink", precious, replace_link):
        backup = back_up(tmp_path, FILE, tmp_path / "state", AT)

    assert backup is not None
    assert (precious.stat().st_mode, precious.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("other", ["link", "pipe"])
def test_a_file_replaced_during_its_backup_is_neither_followed_nor_waited_for(
    tmp_path: Path, other: str
) -> None:
    precious, target = tmp_path / "precious", tmp_path / FILE
    precious.write_text("precious")
    target.parent.mkdir(parents=True)
    target.write_bytes(b"by hand")

    def replace_file() -> None:
        target.unlink()
        if other == "link":
            target.symlink_to(precious)
        else:
            os.mkfifo(target)

    with before_call("open", target, replace_file), pytest.raises(RegistryError):
        back_up(tmp_path, FILE, tmp_path / "state", AT)

    assert list((tmp_path / "state/drift").iterdir()) == []
