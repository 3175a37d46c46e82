"""The copies of Omni's files: all of them, or none."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from faults.disk.mounts import filled, mount_tmpfs

from omnicdc.cli.cutover import backup
from omnicdc.errors import ConfigError, RegistryError
from omnicdc.filesystem.remedy import TEMPORARY

if TYPE_CHECKING:
    from pathlib import Path

PATHS = ("registry/small.json", "registry/large.yaml")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "registry").mkdir(parents=True)
    (root / PATHS[0]).write_bytes(b"{}")
    (root / PATHS[1]).write_bytes(b"x" * 100_000)
    return root


def test_a_full_disk_leaves_no_half_copy(root: Path, tmp_path: Path) -> None:
    with ExitStack() as cleanup:
        state = mount_tmpfs(cleanup, tmp_path / "state")
        with filled(state, left=50_000), pytest.raises(RegistryError) as refused:
            backup.back_up(root, PATHS, state)
        left = [*(state / "cutover").rglob("*")]
        kept = backup.back_up(root, PATHS, state)

        assert f"`df -h {state}`" in refused.value.hint
        assert left == []
        assert [(kept / path).read_bytes() for path in PATHS] == [b"{}", b"x" * 100_000]


def test_a_half_copy_of_a_killed_process_is_no_copy_and_goes(root: Path, tmp_path: Path) -> None:
    half = tmp_path / "state/cutover" / TEMPORARY
    half.mkdir(parents=True)
    (half / "half").touch()
    with pytest.raises(ConfigError):
        backup.newest(tmp_path / "state")
    kept = backup.back_up(root, PATHS, tmp_path / "state")

    assert [*kept.parent.iterdir()] == [kept]
    assert backup.newest(tmp_path / "state") == kept
    assert not (kept / "half").exists()
