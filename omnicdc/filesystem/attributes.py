"""Copies owner, group, mode, POSIX ACL and extended attributes from a file to the one that replaces it.

`access` decides whether the new file would permit more than the old one.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.errors import RegistryError
from omnicdc.filesystem.access import access, for_another_group, widens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ACL = "system.posix_acl_access"
USER = "user."

SPECIAL = {"set-user-id": stat.S_ISUID, "set-group-id": stat.S_ISGID, "sticky": stat.S_ISVTX}
"""The bits of a mode that are not permissions."""

_HASHES = {"security.ima", "security.evm"}
"""The kernel computes these attributes from the content, so those of the old file would be wrong."""

_NONE = {errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.ENOENT}
"""Errors that mean: no such attribute, no support by the file system, or no such file."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """The properties of a file besides its content."""

    status: os.stat_result
    acl: bytes | None
    user: Mapping[str, bytes | None]
    """The `user.*` attributes. None: it may not be read."""
    others: Mapping[str, bytes | None]
    """The attributes of security modules and administrators: `security.*`, `trusted.*`, `system.*`."""

    @property
    def mode(self) -> int:
        """The permission bits only."""
        return stat.S_IMODE(self.status.st_mode) & 0o777

    @property
    def special(self) -> int:
        """The other bits of the mode that the new file gets.

        A bit that lets a file run with another user's rights is not kept. The set-group-id bit gives no such
        right if the group may not execute the file, as after `chmod -R g+s`.
        """
        gives_no_rights = stat.S_ISVTX if self.mode & stat.S_IXGRP else stat.S_ISVTX | stat.S_ISGID
        return self.status.st_mode & gives_no_rights


def read(status: os.stat_result, directory: int, place: Path) -> Attributes:
    """Return the attributes of the file at `place`, which is in the open directory.

    Raises OSError if they cannot be read.
    """
    # Use the open directory, so that a symlink that replaces one of its parents now is not followed.
    opened = f"/proc/self/fd/{directory}"
    has_proc = os.path.isdir(opened)  # noqa: PTH112 - /proc may be missing
    path = f"{opened}/{place.name}" if has_proc else str(place)
    names = [name for name in _names(path) if name not in _HASHES]
    return Attributes(
        status=status,
        acl=_value(path, ACL),
        user={name: _value(path, name) for name in names if name.startswith(USER)},
        others={name: _value(path, name) for name in names if name != ACL and not name.startswith(USER)},
    )


def give(file: int, old: Attributes, place: Path) -> tuple[str, ...]:
    """Set the old file's attributes on a new, private file. Return the names of those that could not be set.

    This process must have created the file with mode 0600, so that no other user reads it before its
    attributes are set. Raises RegistryError if the new file would give some user a permission that the old
    one did not give, and OSError if the mode cannot be set.
    """
    lost = [name for name, value in old.user.items() if not _set(file, name, value)]
    lost += _give_owner(file, old.status)
    made = os.fstat(file)
    try:
        mode, acl = old.mode, old.acl
        if made.st_gid != old.status.st_gid:
            mode, acl = for_another_group(mode, acl)
        given = _give_acl(file, acl)
        lost += [] if given else [ACL]
        before = access(old.status.st_uid, old.status.st_gid, old.mode, old.acl)
        after = access(made.st_uid, made.st_gid, mode, _value(file, ACL))
    except ValueError as exc:
        raise RegistryError(
            f"cannot write {place}: {exc}", hint=f"`setfacl -b {shlex.quote(str(place))}`"
        ) from exc
    if widens(before, after):
        raise RegistryError(
            f"cannot write {place}: its {' and '.join(lost) or 'ACL'} cannot be kept, and without it more "
            f"users "
            "could read or write the new file",
            hint=f"compare `getfacl {shlex.quote(str(place))}` with `id`; "
            f"`chown {os.geteuid()}:{os.getegid()} {shlex.quote(str(place))}` and `setfacl -b` make it the "
            f"daemon's",
        )
    _give_mode(file, mode, old.special if "group" not in lost else 0)
    gone = old.status.st_mode & ~os.fstat(file).st_mode
    lost += [name for name, bit in SPECIAL.items() if gone & bit]
    lost += [name for name, value in old.others.items() if _value(file, name) != value]
    return tuple(lost)


def copy(source: int, target: int) -> None:
    """Copy ACL, `user.*` attributes, mode and times from one open file to another.

    Attributes that may not be set are skipped. Raises OSError if mode or times cannot be set.
    """
    found = os.fstat(source)
    for name in (name for name in _names(source) if name == ACL or name.startswith(USER)):
        with suppress(OSError):
            os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, stat.S_IMODE(found.st_mode) & 0o777)
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _give_owner(file: int, old: os.stat_result) -> list[str]:
    """Set owner and group, or only the group. Return those that could not be set.

    Only root may set the owner. Other users may only set a group that they are in.
    """
    for owner, group in ((old.st_uid, old.st_gid), (-1, old.st_gid)):
        with suppress(OSError):
            os.fchown(file, owner, group)
            break
    made = os.fstat(file)
    lost = {"owner": made.st_uid != old.st_uid, "group": made.st_gid != old.st_gid}
    return [name for name, is_lost in lost.items() if is_lost]


def _give_mode(file: int, mode: int, special: int) -> None:
    """Set the permissions of a file, and the special bits if that is permitted.

    RestrictSUIDSGID= of systemd forbids them.
    """
    if stat.S_IMODE(os.fstat(file).st_mode) == mode | special:
        return
    with suppress(PermissionError):
        os.fchmod(file, mode | special)
        return
    os.fchmod(file, mode)


def _give_acl(file: int, acl: bytes | None) -> bool:
    """Set this ACL on a file. Without one, remove the ACL that the file inherited from its directory.

    Returns False if that failed.
    """
    if acl is not None and _set(file, ACL, acl):
        return True
    try:
        os.removexattr(file, ACL)
    except OSError as exc:
        return acl is None and exc.errno in _NONE
    return acl is None


def _set(file: int, name: str, value: bytes | None) -> bool:
    if value is None:
        return False
    try:
        os.setxattr(file, name, value)
    except OSError:
        return False
    return True


def _names(of: str | int) -> list[str]:
    try:
        return os.listxattr(of, follow_symlinks=isinstance(of, int))
    except OSError as exc:
        if exc.errno not in _NONE:
            raise
        return []


def _value(of: str | int, name: str) -> bytes | None:
    """Return an attribute; None if it does not exist or may not be read."""
    try:
        return os.getxattr(of, name, follow_symlinks=isinstance(of, int))
    except OSError as exc:
        # Every user who sees the file may read its ACL. Without the ACL, the permissions are unknown.
        if exc.errno not in _NONE and (name == ACL or exc.errno not in (errno.EACCES, errno.EPERM)):
            raise
        return None
