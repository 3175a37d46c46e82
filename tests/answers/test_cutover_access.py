"""What keeps a switch from writing what it must write, found before anything is changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from omnicdc.answers.cutover import access
from omnicdc.answers.doctor.users import User, process_user
from omnicdc.errors import ConfigError
from omnicdc.files.lock import LOCK

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = User("omnicdc", 12345, 12345, frozenset({12345}))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that the service's user can reach, but not write."""
    for above in (tmp_path, *tmp_path.parents):
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    place = tmp_path / "registry"
    place.mkdir(mode=0o755)
    return place


def test_what_the_daemon_cannot_write_is_named_with_the_remedy(place: Path) -> None:
    [closed] = access.daemon_faults(place, SERVICE, "")
    place.chmod(0o777)
    allowed = [*access.daemon_faults(place, SERVICE, "")]
    (place / LOCK.name).touch(mode=0o600)
    [locked] = access.daemon_faults(place, SERVICE, "")
    (place / LOCK.name).unlink()
    mounts = f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:1 /y {place} ro - ext4 /dev/x rw\n"
    [read_only] = access.daemon_faults(place, SERVICE, mounts)

    assert closed == (
        f"the daemon could not publish: omnicdc cannot write {place} - "
        f"`chown omnicdc {place}`, `chmod u+rwx {place}`"
    )
    assert allowed == []
    assert f"omnicdc cannot write {place / LOCK.name} - `chown omnicdc" in locked
    assert (
        f"{place} is read-only for its service - `systemctl edit omnicdc`: [Service] ReadWritePaths="
        in read_only
    )


@pytest.mark.usefixtures("permissions")
def test_what_the_caller_may_not_do_is_named_each_in_a_line(place: Path) -> None:
    """A directory that does not exist yet is judged by the one in which it would be created."""
    file = place / "omni.json"
    file.touch(mode=0o000)
    place.chmod(0o500)
    try:
        with pytest.raises(ConfigError) as refused:
            access.refuse_unwritable(
                os.getpid(),
                "omnicdc cutover switch",
                by_daemon=[],
                by_caller=[place / "not" / "yet", place],
                read_by_caller=[file, place / "missing"],
            )
    finally:
        place.chmod(0o700)

    first, second = str(refused.value).splitlines()
    assert first.startswith(f"{place} cannot be written in by this user - ")
    assert second.startswith(f"{file} cannot be read by this user - ")


def test_the_user_of_a_process_is_known_with_its_groups() -> None:
    found = process_user(os.getpid())

    assert (found.uid, found.gid) == (os.geteuid(), os.getegid())
    assert {*os.getgroups()} <= found.groups
