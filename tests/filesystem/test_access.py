"""Whether a new file is open to more users than the file that it replaces.

This is decided from owner, group, mode and ACL.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.acl import Entry, acl, group, mask, others, owner, owning_group, user

from omnicdc.filesystem.access import Access, access, for_another_group, widens

ALICE, BOB, DAEMON, STAFF, TEAM, USERS = 1, 2, 3, 10, 11, 12
PRIVATE_EXCEPT_BOB = acl(owner(6), user(BOB, 4), owning_group(0), mask(4), others(0))


def of(mode: int, entries: bytes | None = None, uid: int = ALICE, gid: int = STAFF) -> Access:
    return access(uid, gid, mode, entries)


@pytest.mark.parametrize(
    ("old", "new", "wider"),
    [
        (of(0o640), of(0o640), False),
        (of(0o640), of(0o600), False),
        (of(0o640), of(0o644), True),
        (of(0o640), of(0o660), True),
        (of(0o444), of(0o644), True),
        # The mode alone would say that the owning group may read.
        (of(0o640, PRIVATE_EXCEPT_BOB), of(0o640), True),
        (of(0o640, PRIVATE_EXCEPT_BOB), of(0o600), False),
        (of(0o640, PRIVATE_EXCEPT_BOB), of(0o640, PRIVATE_EXCEPT_BOB), False),
        (of(0o640), of(0o640, PRIVATE_EXCEPT_BOB), True),
        # The mask bounds a named user.
        (of(0o600, PRIVATE_EXCEPT_BOB), of(0o600), False),
        (of(0o600, PRIVATE_EXCEPT_BOB), of(0o640, PRIVATE_EXCEPT_BOB), True),
        # Without the ACL, a user that it denied is one of the others.
        (of(0o644, acl(owner(6), user(BOB, 0), owning_group(4), mask(4), others(4))), of(0o644), True),
        (of(0o644, acl(owner(6), group(TEAM, 0), owning_group(4), mask(4), others(4))), of(0o644), True),
        # Another owner: the daemon may not change a file's owner. Another group has other members.
        (of(0o600), of(0o600, uid=DAEMON), False),
        (of(0o640), of(0o640, gid=USERS), True),
        (of(0o644), of(0o644, gid=USERS), False),
        (of(0o604), of(0o604, gid=USERS), True),
    ],
)  # fmt: skip
def test_wider_access_is_found(old: Access, new: Access, *, wider: bool) -> None:
    assert widens(old, new) is wider


RIGHTS = st.integers(0, 7)
NAMED: st.SearchStrategy[list[Entry]] = st.lists(
    st.one_of(
        st.builds(user, st.sampled_from([ALICE, BOB]), RIGHTS),
        st.builds(group, st.sampled_from([STAFF, TEAM, USERS]), RIGHTS),
    ),
    max_size=4,
    unique_by=lambda it: (it[0], it[2]),
)


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    mode, named = draw(st.integers(0, 0o777)), draw(NAMED)
    entries = acl(owner(mode >> 6), *named, owning_group(draw(RIGHTS)), mask(mode >> 3 & 7), others(mode & 7))
    return of(mode, entries if named else None, uid=draw(st.sampled_from([ALICE, DAEMON])))


@given(
    accesses(),
    accesses(),
    st.sampled_from([BOB, 99]),
    st.frozensets(st.sampled_from([STAFF, TEAM, USERS, 98])),
)
def test_access_is_wider_if_any_user_may_do_more(
    old: Access, new: Access, uid: int, groups: frozenset[int]
) -> None:
    """The user may be in any number of groups."""
    if new.granted(uid, groups) & ~old.granted(uid, groups):
        assert widens(old, new)


@given(st.integers(0, 0o777), NAMED, RIGHTS)
def test_another_group_may_do_no_more_than_all_other_users(mode: int, named: list[Entry], own: int) -> None:
    entries = acl(owner(mode >> 6), *named, owning_group(own), mask(mode >> 3 & 7), others(mode & 7))

    changed, kept = for_another_group(mode, entries if named else None)
    after = of(changed, kept, gid=77)

    assert after.group_may & ~after.others_may == 0
    assert changed & 0o707 == mode & 0o707


@pytest.mark.parametrize("value", [b"\1", b"\2\0\0", b"\3\0\0\0", b"\2\0\0\0half"])
def test_an_acl_of_another_format_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="ACL of"):
        access(ALICE, STAFF, 0o640, value)
