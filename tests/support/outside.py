"""A directory beside the root with protected files, which omnicdc must not change.

If a file changes, the failure names the process that changed it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.host import REGISTRIES

_EVENTS = {
    0x2: "written to", 0x4: "attributes changed", 0x40: "moved from", 0x80: "moved to", 0x100: "created",
    0x200: "deleted",
}  # fmt: skip
"""Events of linux/fanotify.h."""

_OF_CHILDREN, _OF_DIRECTORIES = 0x08000000, 0x40000000
_NONBLOCK, _CLOEXEC, _WITH_NAMES = 0x2, 0x1, 0xC00
_METADATA = struct.Struct("IBBHQii")
_INFO = struct.Struct("BBH8sIi")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Outside:
    """A directory beside the root with protected files."""

    place: Path
    _before: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    _fanotify: int = -1

    def __post_init__(self) -> None:
        for name in ("precious", "uuid", "projects", "git_repos"):
            (self.place / name).mkdir(parents=True)
        (self.place / "precious/file").write_text("precious")
        for name in REGISTRIES:
            target = self.place / Path(name).parent.name / Path(name).name
            target.mkdir()
            (target / "precious").write_text("in a directory of a registry's name")
        self._before = self._found()
        self._watch()

    @property
    def file(self) -> Path:
        return self.place / "precious/file"

    def assert_untouched(self) -> None:
        """Assert that nothing changed. A failure names the file, the change and the process."""
        now, before = self._found(), self._before
        changes = [
            f"{path}: {before.get(path, 'was not there')} before, {now.get(path, 'is gone')} now"
            for path in sorted({*before, *now})
            if before.get(path) != now.get(path)
        ]
        assert not changes, "\n".join([*changes, *self._recorded_changes()])

    def close(self) -> None:
        """Stop watching."""
        if self._fanotify >= 0:
            os.close(self._fanotify)

    def _found(self) -> dict[Path, tuple[str, ...]]:
        """Return all that a write would change. It ignores the number of hard links, as tests make links."""
        return {
            it: (
                f"mode {found.st_mode:o}",
                f"inode {found.st_ino}",
                f"time {found.st_mtime_ns}",
                repr(it.read_bytes()) if it.is_file() else "",
            )
            for it in [self.place, *self.place.rglob("*")]
            for found in [it.lstat()]
        }

    def _watch(self) -> None:
        """Have the kernel record which process makes a change. Only root may do this."""
        self._fanotify = _libc.fanotify_init(_NONBLOCK | _CLOEXEC | _WITH_NAMES, os.O_RDONLY)
        if self._fanotify < 0:
            return
        mask = ctypes.c_uint64(sum(_EVENTS) | _OF_CHILDREN | _OF_DIRECTORIES)
        for directory in [self.place, *(it for it in self.place.rglob("*") if it.is_dir())]:
            _libc.fanotify_mark(self._fanotify, 1, mask, -1, os.fsencode(directory))

    def _recorded_changes(self) -> list[str]:
        """Return the recorded changes.

        A hard link to a protected file also changes its attributes.
        """
        recorded = []
        with suppress(OSError):
            while data := os.read(self._fanotify, 1 << 16):
                while data:
                    length, _version, _, beyond, mask, _file, pid = _METADATA.unpack_from(data)
                    info, data = data[beyond:length], data[length:]
                    recorded.append(
                        f"{_name_in(info)}: {_description(mask)} by process {pid} ({_process(pid)})"
                    )
        if not recorded:
            recorded.append(
                f"no process is known: {errno.errorcode.get(ctypes.get_errno(), 'only root can see it')}"
            )
        return recorded


def _description(mask: int) -> str:
    return ", ".join(word for bit, word in _EVENTS.items() if mask & bit)


def _name_in(info: bytes) -> str:
    """Return the file name in an event. It follows the handle of the directory."""
    handle_bytes = _INFO.unpack_from(info)[4]
    return os.fsdecode(info[_INFO.size + handle_bytes :].partition(b"\0")[0])


def _process(pid: int) -> str:
    if pid == os.getpid():
        return "this test"
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return "it has ended"
