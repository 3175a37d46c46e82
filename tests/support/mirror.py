"""Mirrors of a directory that follow inotify events only, as programs that copy files on events do."""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from omnicdc.filesystem import regular

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

CLOSE_WRITE, MOVED_FROM, MOVED_TO, DELETE = 0x8, 0x40, 0x80, 0x200
"""Constants of sys/inotify.h."""

_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Mirrors:
    """Three mirrors of one directory, starting with its present content; a context manager.

    `rereading` copies a file that was moved in or closed after a write, and removes files that were moved
    away or deleted. `moving` renames its own copy when a file is renamed, and copies files that were closed
    after a write. `closing` only copies files that were closed after a write.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._events = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        _checked(
            _libc.inotify_add_watch(
                self._events, os.fsencode(directory), CLOSE_WRITE | MOVED_FROM | MOVED_TO | DELETE
            )
        )
        present = {it.name: it.read_bytes() for it in directory.iterdir() if it.is_file()}
        self.rereading = dict(present)
        self.moving = dict(present)
        self.closing = dict(present)
        self.events: list[tuple[int, str]] = []
        """Every event so far: its mask and the name of the file."""
        self._moved: dict[int, bytes | None] = {}

    def __enter__(self) -> Self:
        """Return the mirrors, which already watch."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop watching."""
        os.close(self._events)

    def follow(self) -> None:
        """Apply all events up to now.

        The kernel queues an event before the system call that causes it returns.
        """
        with suppress(BlockingIOError):
            while data := os.read(self._events, 1 << 16):
                while data:
                    _watch, mask, cookie, length = _EVENT.unpack_from(data)
                    name = os.fsdecode(data[_EVENT.size : _EVENT.size + length].rstrip(b"\0"))
                    data = data[_EVENT.size + length :]
                    self.events.append((mask, name))
                    self._follow(mask, cookie, name)

    def last(self, name: str) -> list[int]:
        """Return the masks of all events of a name, in order."""
        return [mask for mask, about in self.events if about == name]

    def _follow(self, mask: int, cookie: int, name: str) -> None:
        if mask & (MOVED_FROM | DELETE):
            self.rereading.pop(name, None)
            departed = self.moving.pop(name, None)
            if mask & MOVED_FROM:
                self._moved[cookie] = departed
        if mask & MOVED_TO:
            arrived = self._moved.pop(cookie, None)
            if arrived is not None:
                self.moving[name] = arrived
        if mask & CLOSE_WRITE:
            self._copy(self.moving, name)
            self._copy(self.closing, name)
        if mask & (CLOSE_WRITE | MOVED_TO):
            self._copy(self.rereading, name)

    def _copy(self, copies: dict[str, bytes], name: str) -> None:
        with suppress(OSError):
            copies[name] = regular.read(self._directory / name)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
