"""A registry file keeps owner, group, mode, ACL and extended attributes when it is replaced."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.acl import ACCESS, DEFAULT, acl, group, mask, need, of, others, owner, owning_group, user
from support.rights import another_user

from omnicdc.errors import RegistryError
from omnicdc.files.manifest import MANIFEST, Manifest, write_manifest
from omnicdc.filesystem.atomic import replace, stage
from omnicdc.filesystem.remedy import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = Path("registry.json")
READERS = acl(owner(6), user(1234, 4), group(2345, 4), owning_group(0), mask(4), others(0))
"""Two named readers. The mode is 0640 with this ACL, although the owning group may not read."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the owner of a file")


@pytest.fixture(params=["the same user", "an unprivileged user"])
def target(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A registry in a directory that every user may reach. The test acts as its owner."""
    unprivileged = request.param != "the same user"
    if unprivileged and os.geteuid():
        pytest.skip("the test's user is unprivileged already")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        with another_user() if unprivileged else nullcontext(), tempfile.TemporaryDirectory(dir=name) as root:
            need(Path(root))
            (Path(root) / NAME).write_bytes(b"old")
            (Path(root) / NAME).chmod(0o640)
            yield Path(root) / NAME


def test_an_acl_is_kept(target: Path) -> None:
    os.setxattr(target, ACCESS, READERS)

    for content in (b"1", b"2"):
        replace(target.parent, NAME, [content])

    assert target.read_bytes() == b"2"
    assert of(target) == READERS
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_user_attributes_are_kept(target: Path) -> None:
    """Also if the owner may not write to the file."""
    os.setxattr(target, "user.origin", b"\0\1")
    os.setxattr(target, "user.empty", b"")
    target.chmod(0o444)

    replace(target.parent, NAME, [b"new"])

    kept = {name: os.getxattr(target, name) for name in os.listxattr(target) if name.startswith("user.")}
    assert kept == {"user.origin": b"\0\1", "user.empty": b""}
    assert stat.S_IMODE(target.stat().st_mode) == 0o444


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (0o2640, 0o2640, ()),
        (0o1644, 0o1644, ()),
        (0o2750, 0o750, ("set-group-id",)),
        (0o4700, 0o700, ("set-user-id",)),
        (0o7770, 0o1770, ("set-user-id", "set-group-id")),
    ],
    ids=["2640", "1644", "2750", "4700", "7770"],
)
def test_harmless_mode_bits_are_kept_and_others_are_reported(
    target: Path, before: int, after: int, lost: tuple[str, ...]
) -> None:
    """Regression: all of them were dropped without a report.

    The bit that `chmod -R g+s` sets on a file is harmless.
    """
    target.chmod(before)

    with stage(target.parent, NAME, [b"new"]) as staged:
        staged.swap()

    assert oct(stat.S_IMODE(target.stat().st_mode)) == oct(after)
    assert staged.not_kept == lost


def test_a_mode_bit_that_may_not_be_set_is_left_out(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter of system calls of systemd's RestrictSUIDSGID= refuses it."""
    target.chmod(0o2640)
    fchmod = os.fchmod

    def restricted(file: int, mode: int) -> None:
        if mode & (stat.S_ISUID | stat.S_ISGID):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        fchmod(file, mode)

    monkeypatch.setattr(os, "fchmod", restricted)
    with stage(target.parent, NAME, [b"new"]) as staged:
        staged.swap()

    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert staged.not_kept == ("set-group-id",)


def test_a_new_directory_has_the_group_of_a_parent_with_the_set_group_id_bit(
    tmp_path: Path,
) -> None:
    group = next((it for it in os.getgroups() if it != os.getegid()), 1234 if os.geteuid() == 0 else None)
    if group is None:
        pytest.skip("the test's user is in one group only")
    os.chown(tmp_path, -1, group)
    tmp_path.chmod(0o2775)

    replace(tmp_path, "a/b/registry", [b"new"])

    for made in (tmp_path / "a", tmp_path / "a/b"):
        assert made.stat().st_gid == group
        assert made.stat().st_mode & stat.S_ISGID
    assert (tmp_path / "a/b/registry").stat().st_gid == group


def test_a_default_acl_is_not_given_to_a_file_without_an_acl(target: Path) -> None:
    """The temporary file does not get it, either."""
    inherited = acl(owner(7), user(1234, 7), owning_group(5), mask(7), others(5))
    os.setxattr(target.parent, DEFAULT, inherited)
    modes: list[int] = []

    def observe(step: str) -> None:
        unfinished = target.with_name(f".{NAME}{TEMPORARY}")
        if step == "write":
            modes.append(stat.S_IMODE(unfinished.stat().st_mode))

    replace(target.parent, NAME, [b"new"], observe)

    assert modes == [0o600]  # with an ACL, the group's bits are the mask that bounds every entry
    assert of(target) is None
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_default_acl_applies_to_the_first_file(target: Path) -> None:
    os.setxattr(target.parent, DEFAULT, acl(owner(7), user(1234, 7), owning_group(5), mask(7), others(0)))
    target.unlink()

    replace(target.parent, NAME, [b"new"])

    assert of(target) == acl(owner(6), user(1234, 7), owning_group(5), mask(4), others(0))


def test_the_manifest_keeps_its_attributes(target: Path) -> None:
    manifest = target.parent / MANIFEST
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(b"{}")
    os.setxattr(manifest, ACCESS, READERS)
    os.setxattr(manifest, "user.origin", b"here")

    not_kept = write_manifest(target.parent, Manifest("c", 1, "1:1:", _epoch(), {}))

    assert not_kept == ()
    assert of(manifest) == READERS
    assert os.getxattr(manifest, "user.origin") == b"here"


@as_root
@pytest.mark.parametrize("target", ["the same user"], indirect=True)
def test_attributes_of_the_kernel_or_of_administrators_are_reported_once(target: Path) -> None:
    for name in ("security.omnicdc", "trusted.omnicdc"):
        try:
            os.setxattr(target, name, b"x")
        except OSError as exc:
            pytest.skip(f"{name} cannot be set here: {exc.strerror}")

    lost = []
    for _ in range(2):
        with stage(target.parent, NAME, [b"new"]) as staged:
            staged.swap()
            lost.append(staged.not_kept)

    assert lost == [("security.omnicdc", "trusted.omnicdc"), ()]


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A registry that root owns, in a directory where an unprivileged user may write."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        need(Path(name))
        file = Path(name) / NAME
        file.write_bytes(b"old")
        yield file


@as_root
def test_a_lost_owner_and_group_are_reported_and_the_new_group_gets_no_extra_rights(foreign: Path) -> None:
    """The members of the daemon's group are other users than the members of the file's group."""
    os.setxattr(foreign, ACCESS, acl(owner(6), user(1234, 6), owning_group(6), mask(6), others(4)))

    with another_user(), stage(foreign.parent, NAME, [b"new"]) as staged:
        staged.swap()

    assert staged.not_kept == ("owner", "group")
    assert foreign.read_bytes() == b"new"
    assert of(foreign) == acl(owner(6), user(1234, 6), owning_group(4), mask(6), others(4))


@as_root
@pytest.mark.parametrize(("mode", "kept"), [(0o664, 0o644), (0o640, 0o600), (0o644, 0o644)])
def test_without_an_acl_the_rights_of_a_group_are_not_given_to_another(
    foreign: Path, mode: int, kept: int
) -> None:
    foreign.chmod(mode)

    with another_user():
        replace(foreign.parent, NAME, [b"new"])

    assert stat.S_IMODE(foreign.stat().st_mode) == kept


@as_root
def test_a_write_that_would_open_the_file_to_more_users_is_refused(foreign: Path) -> None:
    """The mode denies the group what others may do. If the group is lost, its members become others."""
    foreign.chmod(0o604)

    with another_user(), pytest.raises(RegistryError) as caught:
        replace(foreign.parent, NAME, [b"new"])

    assert caught.value.message == (
        f"cannot write {foreign}: its owner and group cannot be kept, and without it more users could read "
        f"or "
        "write the new file"
    )
    assert f"`getfacl {foreign}`" in caught.value.hint
    assert foreign.read_bytes() == b"old"
    assert [*foreign.parent.iterdir()] == [foreign]


@as_root
@pytest.mark.parametrize(("own", "published"), [(0, False), (4, True)])
def test_a_lost_acl_fails_the_write_only_if_it_denied_access(
    foreign: Path, own: int, *, published: bool
) -> None:
    """In the user namespace of a container, users of an ACL may have no number."""
    os.setxattr(foreign, ACCESS, acl(owner(6), user(1234, 4), owning_group(own), mask(4), others(0)))
    code = (
        "import sys; from pathlib import Path; from omnicdc.filesystem.atomic import stage\n"
        "with stage(Path(sys.argv[1]), sys.argv[2], [b'new']) as staged: staged.swap(); "
        "print(*staged.not_kept)"
    )

    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", code, foreign.parent, NAME],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)

    assert (done.returncode == 0) is published, done.stderr
    assert (foreign.read_bytes() == b"new") is published
    if published:
        assert done.stdout == f"{ACCESS}\n"
        assert (of(foreign), stat.S_IMODE(foreign.stat().st_mode)) == (None, 0o640)
    else:
        assert f"its {ACCESS} cannot be kept" in done.stderr


def _epoch() -> datetime:
    return datetime.fromtimestamp(0, UTC)
