"""Users of the operating system, and what a user may do with a file: by owner, group, mode and POSIX ACL."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.filesystem.access import access
from omnicdc.filesystem.attributes import ACL

if TYPE_CHECKING:
    from collections.abc import Sequence

READ, WRITE, SEARCH = 4, 2, 1


@dataclass(frozen=True, slots=True)
class User:
    """A user, and all groups that a process of this user has."""

    name: str
    uid: int
    gid: int
    groups: frozenset[int]

    def may(self, path: Path, wanted: int) -> bool:
        """Whether the user may do all of `wanted` with the file itself: see `first_closed` for the path.

        Raises OSError if the file's status cannot be read.
        """
        if self.uid == 0:
            return True
        found = path.stat()
        rights = access(found.st_uid, found.st_gid, found.st_mode & 0o777, acl_of(path))
        granted = rights.granted(self.uid, self.groups)
        return granted & wanted == wanted

    def first_closed(self, path: Path, wanted: int) -> Path | None:
        """Return the first directory above, or the file itself, that keeps the user from what is wanted.

        None if nothing does. Raises OSError if a status cannot be read.
        """
        for above in reversed(path.parents):
            if not self.may(above, SEARCH):
                return above
        return None if self.may(path, wanted) else path


def acl_of(path: Path) -> bytes | None:
    """Return the POSIX ACL of a file; None if it has none."""
    try:
        return os.getxattr(path, ACL)
    except OSError:
        return None


def group_name(gid: int) -> str:
    """Return the name of a group, or its number if it has no name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def this_user() -> User:
    """Return the user who asks."""
    uid = os.geteuid()
    return User(user_name(uid), uid, os.getegid(), frozenset({os.getegid(), *os.getgroups()}))


def user_name(uid: int) -> str:
    """Return the name of a user, or its number if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def named_user(name: str, group: str = "", others: Sequence[str] = ()) -> User:
    """Return a user as systemd starts its processes. Raises LookupError if user or a group is unknown."""
    found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    gid = _gid(group) if group else found.pw_gid
    groups = os.getgrouplist(found.pw_name, gid)
    return User(found.pw_name, found.pw_uid, gid, frozenset({gid, *groups, *map(_gid, others)}))


def process_user(pid: int) -> User:
    """Return the user of a process, with the groups that the process has. Raises OSError."""
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines())
    status = {name: text.split() for name, _, text in lines}
    uid, gid = int(status["Uid"][1]), int(status["Gid"][1])
    return User(user_name(uid), uid, gid, frozenset({gid, *map(int, status.get("Groups", ()))}))


def _gid(group: str) -> int:
    return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
