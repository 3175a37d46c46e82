"""Decides whether a new file would permit more than the old one, by owner, group, mode and POSIX ACL.

No I/O. `attributes` reads these properties from a file and sets them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USER, GROUP_OBJ, GROUP, OTHER = 0x02, 0x04, 0x08, 0x20
"""Tags of ACL entries: a named user, the owning group, a named group, all others (linux/posix_acl.h)."""

_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_VERSION = 2

_STRANGER = -1
"""Stands for all users that no ACL entry names."""


@dataclass(frozen=True, slots=True)
class Access:
    """A file's permissions, as sums of 4 (read), 2 (write) and 1 (execute). The ACL's mask is applied."""

    owner: int
    group: int
    owner_may: int
    group_may: int
    others_may: int
    users: Mapping[int, int]
    groups: Mapping[int, int]

    def granted(self, user: int, groups: frozenset[int]) -> int:
        """Return the permissions of a user who is in these groups."""
        if user == self.owner:
            return self.owner_may
        if user in self.users:
            return self.users[user]
        matching = [may for group, may in self._group_permissions() if group in groups]
        if not matching:
            return self.others_may
        permissions = 0
        for may in matching:
            permissions |= may
        return permissions

    def _group_permissions(self) -> Iterator[tuple[int, int]]:
        yield self.group, self.group_may
        yield from self.groups.items()


def access(owner: int, group: int, mode: int, acl: bytes | None) -> Access:
    """Return the permissions of a file with this mode and ACL. Without an ACL, the mode decides alone.

    With an ACL, the mode's bits are the ACL's entries for the owner, the mask and others, because the kernel
    keeps them equal. Raises ValueError for an ACL of another format.
    """
    owner_may, mask, others_may = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    entries = list(_entries(acl)) if acl else []
    return Access(
        owner=owner,
        group=group,
        owner_may=owner_may,
        group_may=next((may & mask for tag, may, _ in entries if tag == GROUP_OBJ), mask),
        others_may=others_may,
        users={who: may & mask for tag, may, who in entries if tag == USER},
        groups={who: may & mask for tag, may, who in entries if tag == GROUP},
    )


def widens(old: Access, new: Access) -> bool:
    """Return True if the new file gives some user a permission that the old one did not give.

    If the owners differ, they are not compared: the old owner could always change the mode, and the new owner
    wrote the file. One group can give a permission or deny it, so groups are compared alone and in pairs.
    """
    owners = {old.owner} ^ {new.owner}
    users = {old.owner, *old.users, *new.users, _STRANGER} - owners
    groups = sorted({old.group, new.group, *old.groups, *new.groups})
    memberships = [frozenset(some) for number in (0, 1, 2) for some in combinations(groups, number)]
    return any(
        new.granted(user, member) & ~old.granted(user, member) for user in users for member in memberships
    )


def for_another_group(mode: int, acl: bytes | None) -> tuple[int, bytes | None]:
    """Return mode and ACL for a file whose group could not be kept. Its group gets no more than all others.

    Raises ValueError for an ACL of another format.
    """
    if acl is None:
        return mode & (0o707 | (mode & 7) << 3), None
    entries = [(tag, may & mode & 7 if tag == GROUP_OBJ else may, who) for tag, may, who in _entries(acl)]
    return mode, _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _entries(acl: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield tag, permissions and id of each entry of an ACL."""
    try:
        (version,) = _HEADER.unpack_from(acl)
        entries = list(_ENTRY.iter_unpack(acl[_HEADER.size :]))
    except struct.error as exc:
        raise ValueError("an ACL of whole entries expected") from exc
    if version != _VERSION:
        raise ValueError(f"an ACL of version {_VERSION} expected, not {version}")
    yield from entries
