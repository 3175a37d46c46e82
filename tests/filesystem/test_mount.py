"""Which mount a message names. It can be a bind mount of the same file system, which `stat` does not show."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from omnicdc.errors import ConfigError, RegistryError
from omnicdc.filesystem import atomic
from omnicdc.filesystem.mount import Mount, found
from omnicdc.inputs import cache

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 22 254:0 /data /srv rw,relatime shared:1 - ext4 /dev/vda rw
31 30 254:0 /data/a\\040b /srv/a\\040b ro,relatime shared:2 master:1 - ext4 /dev/vda rw
32 22 0:44 / /mnt ro - nfs host:/export ro,vers=4
33 22 0:45 / /mnt rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/x", Mount(Path("/"))),
        ("/srv", Mount(Path("/srv"))),
        ("/srvx", Mount(Path("/"))),
        ("/srv/a b/c", Mount(Path("/srv/a b"), only_here_read_only=True)),
        ("/mnt/x", Mount(Path("/mnt"))),
    ],
)
def test_the_nearest_mount_above_a_path_is_found_and_of_two_the_last(path: str, expected: Mount) -> None:
    assert found(MOUNTINFO, Path(path)) == expected


def test_a_read_only_file_system_is_not_a_read_only_mount() -> None:
    assert found(MOUNTINFO.splitlines()[3], Path("/mnt/x")) == Mount(Path("/mnt"))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory with a read-only bind mount of itself, as containers and systemd make it."""
    directory = tmp_path / "read only"
    (directory / "governance/registry").mkdir(parents=True)
    (directory / "file").touch()
    if subprocess.run(["mount", "--bind", directory, directory], check=False, capture_output=True).returncode:
        pytest.skip("no right to mount")
    subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
    yield directory
    subprocess.run(["umount", "--recursive", directory], check=True)


def test_a_read_only_bind_mount_is_named_with_the_remedy(read_only: Path, tmp_path: Path) -> None:
    """Regression: the hint was to remount `/`."""
    link = tmp_path / "link"
    link.symlink_to(read_only)

    for root in (read_only, link):
        with pytest.raises(RegistryError) as caught:
            atomic.replace(root, "governance/registry/x", [b"1"])
        assert caught.value.hint.endswith(f"`mount -o remount,bind,rw '{read_only}'`")
    with pytest.raises(ConfigError, match=f"read-only on {read_only}: under systemd, StateDirectory="):
        cache.write(read_only / "cached", b"1")
    subprocess.run(["mount", "-o", "remount,bind,rw", read_only], check=True)
    atomic.replace(read_only, "governance/registry/x", [b"1"])


def test_a_single_mounted_file_is_reported(read_only: Path, tmp_path: Path) -> None:
    """A container may mount a single file. Such a file cannot be replaced."""
    file = tmp_path / "root/registry"
    file.parent.mkdir()
    file.touch()
    subprocess.run(["mount", "--bind", read_only / "file", file], check=True)
    try:
        with pytest.raises(RegistryError) as caught:
            atomic.replace(file.parent, "registry", [b"1"])
    finally:
        subprocess.run(["umount", file], check=True)

    assert caught.value.context["errno"] == errno.EBUSY
    assert caught.value.hint == f"mount its directory, not the file alone: `findmnt {file}`"
