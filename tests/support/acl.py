"""POSIX ACLs and extended attributes, written as by setfacl and setfattr, without these commands."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
UNDEFINED = 0xFFFFFFFF

Entry = tuple[int, int, int]


def owner(permissions: int) -> Entry:
    return 0x01, permissions, UNDEFINED


def user(uid: int, permissions: int) -> Entry:
    return 0x02, permissions, uid


def owning_group(permissions: int) -> Entry:
    return 0x04, permissions, UNDEFINED


def group(gid: int, permissions: int) -> Entry:
    return 0x08, permissions, gid


def mask(permissions: int) -> Entry:
    return 0x10, permissions, UNDEFINED


def others(permissions: int) -> Entry:
    return 0x20, permissions, UNDEFINED


def acl(*entries: Entry) -> bytes:
    """Return the value of the attribute. The kernel requires the entries in the order of their tags."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries))


def of(path: Path) -> bytes | None:
    """Return the ACL of a file; None if the file has only its mode."""
    try:
        return os.getxattr(path, ACCESS)
    except OSError as exc:
        if exc.errno == errno.ENODATA:
            return None
        raise


def need(directory: Path) -> None:
    """Skip the test where the file system has no ACLs or no extended attributes."""
    probe = directory / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.probe", b"")
        os.setxattr(probe, ACCESS, acl(owner(6), user(1, 4), owning_group(0), mask(4), others(0)))
    except OSError as exc:
        pytest.skip(f"{directory} has no ACLs or extended attributes: {exc.strerror}")
    finally:
        probe.unlink()
