"""The daemon keeps the modes of its files, writes only below its root, and never quotes a linked secret."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.security.passwords import MARKER, PASSWORD
from support.host import REGISTRIES, Host

from omnicdc.files.manifest import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_a_rewritten_file_keeps_its_mode_and_owner_whatever_the_umask(
    cmp: Cmp, host: Host, umask: int, evidence: Evidence
) -> None:
    """P2: no user gets more rights on a registry file than before.

    All users may read a new registry, as far as the umask allows, and only its owner may write it.
    """
    before = os.umask(umask)
    try:
        daemon = host.daemon()
    finally:
        os.umask(before)
    fresh = {stat.S_IMODE((host.root / name).stat().st_mode) for name in REGISTRIES}
    modes = dict(zip(REGISTRIES, (0o600, 0o640, 0o664), strict=True))
    foreign = (65534, 60) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    for name, mode in modes.items():
        os.chown(host.root / name, *foreign)
        (host.root / name).chmod(mode)
    end_watch = watch_modes(host, modes)
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    cmp.arrived()
    too_open = end_watch()
    found = {name: (host.root / name).stat() for name in REGISTRIES}
    daemon.stop()

    assert fresh == {0o644 & ~umask}
    assert {name: stat.S_IMODE(it.st_mode) for name, it in found.items()} == modes
    assert {(it.st_uid, it.st_gid) for it in found.values()} == {foreign}
    assert too_open == set()
    if umask:  # one line of evidence for both
        evidence(
            "P2", "registries of another user's with modes of their own, rewritten under umask 077 and 000",
            times=2 * len(REGISTRIES), found="owner, group and mode kept; never more open, not even half "
                                             "written",
        )  # fmt: skip


def watch_modes(host: Host, modes: dict[str, int]) -> Callable[[], set[str]]:
    """Look at the files, and at the unfinished ones, until the returned function is called.

    That function returns the files that were more open than they may be.
    """
    too_open: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for name, mode in modes.items():
                for file in (
                    host.root / name,
                    (host.root / name).with_name(f".{Path(name).name}.omnicdc-tmp"),
                ):
                    with contextlib.suppress(FileNotFoundError):
                        if stat.S_IMODE(file.stat().st_mode) & ~mode:
                            too_open.add(file.name)

    thread = threading.Thread(target=look)
    thread.start()

    def end() -> set[str]:
        done.set()
        thread.join()
        return too_open

    return end


PLACES = [
    *REGISTRIES,
    str(MANIFEST),
    "governance/registry/.omnicdc.lock",
    *(str(Path(name).with_name(f".{Path(name).name}.omnicdc-tmp")) for name in (*REGISTRIES, MANIFEST)),
]
"""Every file that the daemon writes. The next line has every directory that it writes into."""
DIRECTORIES = ["governance", "governance/registry", *(name.rpartition("/")[0] for name in REGISTRIES)]


def test_no_symbolic_link_leads_a_write_out_of_the_root(
    cmp: Cmp, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P2: a user who may write below the root cannot make the daemon write outside it.

    Neither a link in the place of a file nor a link in the place of a directory leads a write outside.
    """
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    places = [*PLACES, *DIRECTORIES][:: scale(4, 1)]
    with ThreadPoolExecutor(3) as pool:
        outcomes = dict(pool.map(lambda place: run_with_link(cmp, tmp_path, place), places))
    # The daemon replaces a link to a file. It refuses a linked directory, and a linked lock file.
    refused = {*DIRECTORIES, "governance/registry/.omnicdc.lock"} & {*places}

    assert [place for place, (touched, _, _) in outcomes.items() if touched] == []
    assert [place for place, (_, status, _) in outcomes.items() if status] == sorted(
        refused, key=places.index
    )
    assert all("Traceback" not in stderr for _, _, stderr in outcomes.values())
    evidence(
        "P2", "a symbolic link out of the root in the place of each file and directory that the daemon "
              "writes",
        times=len(outcomes), found=f"nothing outside was touched; {len(refused)} refused with the reason, "
                                   f"the other links replaced",
    )  # fmt: skip


def run_with_link(cmp: Cmp, where: Path, place: str) -> tuple[str, tuple[bool, int, str]]:
    """Publish once, with a link out of the root in a place.

    Returns the place, whether anything behind the link was touched, the exit status, and the error output.
    """
    name = place.replace("/", "_")
    host, outside = Host(where / name, cmp.dsn), where / f"outside_{name}"
    for registry in REGISTRIES:
        (outside / Path(registry).parent).mkdir(parents=True, exist_ok=True)
    (outside / "file").write_text("mine")
    link = host.root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside / "file" if place in PLACES else outside)
    before = tree(outside)
    done = host.run("run", "--once")
    return place, (tree(outside) != before, done.returncode, done.stderr)


def tree(directory: Path) -> list[tuple[str, int, bytes]]:
    """Return everything below a directory, with what changes when it is touched."""
    return sorted(
        (str(it), it.stat().st_mtime_ns, it.read_bytes() if it.is_file() else b"")
        for it in directory.rglob("*")
    )


@pytest.mark.campaign
def test_an_input_that_is_a_link_to_a_secret_is_never_quoted(
    cmp: Cmp, host: Host, tmp_path: Path, evidence: Evidence
) -> None:
    """The daemon reports what is wrong with an input, and does not quote it.

    A user who may write the overrides could make them a link to the daemon's own password file.
    """
    cmp.upsert("apollo")
    secret = tmp_path / "secret"
    links = [
        "projects/LOCAL_OVERRIDES_V1.yaml",
        "projects/EXCLUSION_LIST_V1.yaml",
        "git_repos/repo_inventory.json",
    ]
    texts = [
        PASSWORD, f"{MARKER}\n", f"*{MARKER}", f"{MARKER}: {MARKER}", f"!{MARKER} x", f"- {MARKER}",
        f"overrides: [{MARKER}]", f"%{MARKER}",
    ]  # fmt: skip
    output = {}
    for link, text in itertools.product(links, texts):
        place = host.root / "governance/registry" / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        shutil.rmtree(host.state, ignore_errors=True)
        secret.write_text(text)
        place.symlink_to(secret)
        done = host.run("run", "--once")
        published = "".join(str(content) for content in host.content().values())
        output[link, text] = done.stdout + done.stderr + published
        place.unlink(missing_ok=True)

    assert {key: text for key, text in output.items() if MARKER in text.replace(MARKER + ".", "")} == {}
    evidence(
        "",
        "overrides, exclusions and inventory that are links to a secret",
        times=len(output),
        found="complained of by line, never quoted",
    )
