"""Checks this host: the command, `gh`, the workspaces, and the clock."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnicdc import db
from omnicdc.answers.doctor.finding import Finding, Skipped, fail, ok, warn
from omnicdc.answers.doctor.reach import answers_in_time
from omnicdc.answers.doctor.users import READ, SEARCH, this_user
from omnicdc.inputs import github

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.doctor.site import Site
    from omnicdc.answers.doctor.users import User

GH_S = 10.0
"""How long `gh` may take to tell whether it is logged in."""

READINGS = 5
"""The clock is read so often; the reading with the shortest way counts."""

WARN, FAIL = timedelta(seconds=2), timedelta(seconds=60)
"""A clock that differs by more."""


def check_command(site: Site) -> Iterator[Finding]:
    """Whether `omnicdc` is on PATH, and is the one that runs now."""
    path = shutil.which("omnicdc", path=site.environ.get("PATH"))
    here = Path(sys.argv[0]).absolute()
    if path is None:
        link = (
            f"`ln -s {shlex.quote(str(here))} /usr/local/bin/`"
            if here.name == "omnicdc"
            else "link it to /usr/local/bin"
        )
        yield warn("`omnicdc` is not on PATH: the commands of all messages need it", link)
    elif here.name == "omnicdc" and here.exists() and Path(path).resolve() != here.resolve():
        yield warn(
            f"`omnicdc` on PATH is {path}, this one is {here}", f"`ln -sf {shlex.quote(str(here))} {path}`"
        )
    else:
        yield ok(path)


def check_gh(site: Site) -> Iterator[Finding]:
    """Whether `gh` is logged in as the service's user."""
    if not site.config.gh:
        raise Skipped("`gh: false`: GitHub is not asked")
    if site.config.root is None:
        raise Skipped("no root is configured here: only registry hosts ask GitHub")
    program = shutil.which("gh", path=site.environ.get("PATH"))
    if program is None:
        yield warn(
            "`gh` is not installed: what is known of repositories on GitHub is not renewed",
            "install it and log in (docs/install.md, GitHub), or set `gh: false`",
        )
        return
    yield logged_in(program, site.daemon_user, this_user())


def logged_in(program: str, user: User, asking: User) -> Finding:
    """Ask `gh`, as a user, whether it is logged in. Raises Skipped unless that user or root asks."""
    if asking.uid not in (0, user.uid):
        raise Skipped(
            f"needs the rights of {user.name}: `sudo -Hu {user.name} gh auth status`, or ask as root"
        )
    switch: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    env, login = github.environment(), "`gh auth login`"
    if asking.uid != user.uid:
        switch |= {"user": user.uid, "group": user.gid, "extra_groups": sorted(user.groups)}
        env |= {"HOME": pwd.getpwuid(user.uid).pw_dir}
        login = f"`sudo -Hu {user.name} gh auth login`"
    command = [program, "auth", "status"]
    try:
        done = subprocess.run(command, timeout=GH_S, check=False, env=env, cwd="/", **switch)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return fail(f"{program} does not answer: {exc}", f"{login}; or set `gh: false`")
    if done.returncode:
        return fail(f"`gh` is not logged in as {user.name}", login)
    return ok(f"logged in as {user.name}")


def check_workspaces(site: Site) -> Iterator[Finding]:
    """Whether the service's user can read the workspaces, and none hangs."""
    if not site.config.workspaces:
        raise Skipped("no `workspaces` are configured beside the root")
    user = site.daemon_user
    for path in site.config.workspaces:
        yield (
            workspace(path, user)
            if answers_in_time(path, site.patience_s)
            else fail(
                f"{path} does not answer: a mount that hangs",
                "repair the mount, or remove it from `workspaces:`",
            )
        )


def workspace(path: Path, user: User) -> Finding:
    """Whether a user can read a directory with clones."""
    quoted = shlex.quote(str(path))
    if not os.path.lexists(path):
        return warn(f"{path} is missing", f"`mkdir -p {quoted}`, or remove it from `workspaces:`")
    closed = user.first_closed(path, READ | SEARCH)
    if closed is None:
        return ok(f"{user.name} can read {path}")
    return fail(
        f"{user.name} cannot read {path}: {closed} is closed to it",
        f"`chmod o+rx {shlex.quote(str(closed))}`, or SupplementaryGroups= (docs/install.md, Workspaces)",
    )


def check_clock(site: Site) -> Iterator[Finding]:
    """Whether the clocks of this host and of the server agree, as far as that can be measured."""
    conn = site.conn
    readings = []
    with db.translated("reading the clock"):
        for _ in range(READINGS):
            before = datetime.now(UTC)
            there = db.fetch_one(conn, "clock")["now"]
            after = datetime.now(UTC)
            readings.append((after - before, there - (before + (after - before) / 2)))
    took, ahead = min(readings)
    yield clock(ahead, took / 2)


def clock(ahead: timedelta, uncertain: timedelta) -> Finding:
    """Judge by how much the server's clock is ahead of this host's, and how uncertain that is."""
    seconds, plus_minus = ahead.total_seconds(), uncertain.total_seconds()
    word = "ahead of" if seconds > 0 else "behind"
    seen = f"CMP's server is {abs(seconds):.3f} s {word} this host (± {plus_minus:.3f} s)"
    certain = abs(ahead) - uncertain
    remedy = "on the host whose clock is wrong: `timedatectl set-ntp true`, `timedatectl timesync-status`"
    if certain > FAIL:
        return fail(f"{seen}: times in logs and registries contradict each other", remedy)
    return warn(seen, remedy) if certain > WARN else ok(seen)
