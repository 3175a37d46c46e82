"""What hands do to a file: edit, cut, remove it, put something else in its place.

Nothing is asked or checked.

`tests/faults/external_changes/` has more of them, with what each must be answered by; here they are a few
among all else that happens.
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


def put_at_once(path: Path, text: str) -> None:
    """Put another text there at once, as a careful editor does.

    Who looks meanwhile sees one change, not an empty file first.
    """
    other = path.parents[3] / "an editor's own"
    other.write_text(text)
    other.replace(path)


def swap(one: Path, other: Path) -> None:
    """Exchange two names at once: the daemon makes a directory anew as soon as it is missing."""
    directory = os.open("/", os.O_RDONLY)
    assert exchange(directory, str(one), str(other))
    os.close(directory)


def file_instead(directory: Path) -> Path:
    """Put a file in a directory's place, so that not even root can write there.

    Returns where the directory is now.
    """
    moved = directory.with_name("moved away")
    moved.touch()
    swap(moved, directory)
    return moved


def edit(path: Path) -> None:
    remove(path)
    path.write_bytes(b"by another hand")


def edit_in_secret(path: Path) -> None:
    """As long as before, and with the same inode and time: only reading it tells."""
    if _plain(path):
        found, data = path.stat(), path.read_bytes()
        with path.open("r+b") as file:
            file.write(data[:-1] + b"?")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def cut(path: Path) -> None:
    if _plain(path):
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
    """Opening it to read waits for a writer, for ever."""
    remove(path)
    os.mkfifo(path)


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


EXTERNAL_CHANGES: Mapping[str, Callable[[Path], None]] = {
    deed.__name__: deed for deed in (edit, edit_in_secret, cut, remove, directory, link, link_to_a_copy, pipe)
}
