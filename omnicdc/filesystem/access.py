"""Who may do what with a file, by its owner, group, mode and POSIX ACL.

It decides whether a new file is more open. Pure; what is read from a file and set on one is in `attributes`.
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
"""Stands for every user whom no entry names."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a file grants, as bits of 4 (read), 2 (write) and 1 (execute); the ACL's mask is applied."""

    owner: int
    group: int
    owner_may: int
    group_may: int
    others_may: int
    users: Mapping[int, int]
    groups: Mapping[int, int]

    def granted(self, user: int, groups: frozenset[int]) -> int:
        """Return what a user who is in these groups may do."""
        if user == self.owner:
            return self.owner_may
        if user in self.users:
            return self.users[user]
        matching = [may for group, may in self._of_groups() if group in groups]
        if not matching:
            return self.others_may
        together = 0
        for may in matching:
            together |= may
        return together

    def _of_groups(self) -> Iterator[tuple[int, int]]:
        yield self.group, self.group_may
        yield from self.groups.items()


def access(owner: int, group: int, mode: int, acl: bytes | None) -> Access:
    """Return what a file with this mode and ACL grants; without an ACL the mode says all.

    With one, the mode's bits are the entries for the owner, the mask and others: the kernel keeps them equal.
    Raises ValueError for an ACL of another format.
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
    """Whether some user may do with the new file what they could not do with the old one.

    The owners do not count where they differ: the old one could always change the mode, the new one wrote the
    file. A permission comes from one group or is denied by one, so groups are tried alone and in pairs.
    """
    owners = {old.owner} ^ {new.owner}
    users = {old.owner, *old.users, *new.users, _STRANGER} - owners
    groups = sorted({old.group, new.group, *old.groups, *new.groups})
    memberships = [frozenset(some) for number in (0, 1, 2) for some in combinations(groups, number)]
    return any(
        new.granted(user, member) & ~old.granted(user, member) for user in users for member in memberships
    )


def for_another_group(mode: int, acl: bytes | None) -> tuple[int, bytes | None]:
    """Return mode and ACL for a file whose group could not be kept: its group may do no more than all others.

    Raises ValueError for an ACL of another format.
    """
    if acl is None:
        return mode & (0o707 | (mode & 7) << 3), None
    entries = [(tag, may & mode & 7 if tag == GROUP_OBJ else may, who) for tag, may, who in _entries(acl)]
    return mode, _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _entries(acl: bytes) -> Iterator[tuple[int, int, int]]:
    """Return tag, permissions and id of each entry."""
    try:
        (version,) = _HEADER.unpack_from(acl)
        entries = list(_ENTRY.iter_unpack(acl[_HEADER.size :]))
    except struct.error as exc:
        raise ValueError("an ACL of whole entries expected") from exc
    if version != _VERSION:
        raise ValueError(f"an ACL of version {_VERSION} expected, not {version}")
    yield from entries
