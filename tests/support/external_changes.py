"""Simple external changes of a registry file: edit, truncate, remove or replace it.

The functions check nothing. `support.file_damage` has more changes, for the tests of
`tests/faults/external_changes/`.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from omnicdc.filesystem.exchange import exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def replace_atomically(path: Path, text: str) -> None:
    """Replace a file with another text by a rename, as a careful editor does.

    A reader sees one change, and never an empty file.
    """
    other = path.parents[3] / "temporary file of an editor"
    other.write_text(text)
    other.replace(path)


def swap(one: Path, other: Path) -> None:
    """Exchange two names in one step, as the daemon makes a missing directory again at once."""
    directory = os.open("/", os.O_RDONLY)
    assert exchange(directory, str(one), str(other))
    os.close(directory)


def file_instead(directory: Path) -> Path:
    """Replace a directory with a file, so that not even root can write there.

    Return the new path of the directory.
    """
    moved = directory.with_name("moved away")
    moved.touch()
    swap(moved, directory)
    return moved


def edit(path: Path) -> None:
    remove(path)
    path.write_bytes(b"an external change")


def edit_in_secret(path: Path) -> None:
    """Edit without a change of size, inode or time. Only a read of the content shows the edit."""
    if _is_regular(path):
        found, data = path.stat(), path.read_bytes()
        with path.open("r+b") as file:
            file.write(data[:-1] + b"?")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def cut(path: Path) -> None:
    if _is_regular(path):
        os.truncate(path, 50)


def directory(path: Path) -> None:
    remove(path)
    (path / "inside").mkdir(parents=True)


def link(path: Path) -> None:
    remove(path)
    path.symlink_to("/nowhere/at/all")


def link_to_a_copy(path: Path) -> None:
    copy = path.with_name(f".{path.name}.elsewhere")
    remove(copy)
    path.rename(copy)
    path.symlink_to(copy)


def pipe(path: Path) -> None:
    """Replace a file with a pipe. To open a pipe for reading waits for a writer, for ever."""
    remove(path)
    os.mkfifo(path)


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


EXTERNAL_CHANGES: Mapping[str, Callable[[Path], None]] = {
    change.__name__: change
    for change in (edit, edit_in_secret, cut, remove, directory, link, link_to_a_copy, pipe)
}
