"""Checks the infrastructure root: directories, the lock, room on the disk, rights, and the files' content."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.answers.doctor.finding import Finding, Fix, Skipped, fail, ok, warn
from omnicdc.answers.doctor.users import SEARCH, WRITE, acl_of, group_name
from omnicdc.errors import ConfigError
from omnicdc.files.drift import intact, rehash
from omnicdc.files.lock import LOCK, holder_of
from omnicdc.files.manifest import MANIFEST, read_manifest
from omnicdc.filesystem.access import access, for_another_group, widens
from omnicdc.filesystem.atomic import REGISTRY
from omnicdc.filesystem.mount import mount_of
from omnicdc.inputs.parts import InputSettings, peoples_files
from omnicdc.verify.audit import verify_all
from omnicdc.verify.project import UNKNOWN_INPUTS, known_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.doctor.site import Site
    from omnicdc.answers.doctor.users import User

MOST = 5
"""At most so many notices and differences are shown."""


def check_root(site: Site) -> Iterator[Finding]:
    """Whether the infrastructure root is there, and its file system answers."""
    root = site.output_root
    if not site.root_answers:
        yield fail(
            f"{root} does not answer: a mount that hangs",
            f"look at `findmnt -T {_quoted(root)}` and `dmesg`; repair that mount",
        )
        return
    exists(root)
    try:
        site.config.require_output_directory()
    except ConfigError as exc:
        remedy = f"mount it, or `mkdir -p {_quoted(root)}`; or name another one: --root DIR or OMNICDC_ROOT"
        yield fail(exc.message, remedy)
        return
    trial = f", the shadow of {site.config.root}: a trial" if site.config.shadow else ""
    yield ok(f"{root}{trial}, on the mount {mount_of(root).point}")


def directories(site: Site) -> list[Path]:
    """Return the directories in which the daemon replaces files."""
    below = {site.root / REGISTRY, *((site.root / it.path).parent for it in site.scanners.values())}
    return sorted(below)


def check_directories(site: Site) -> Iterator[Finding]:
    """Whether the service's user can write each directory of the registries, and the state directory."""
    user = site.daemon_user
    found = [_directory(it, user) for it in (*directories(site), site.config.state_dir)]
    closed = [it for it in found if it.status != "ok"]
    yield from closed
    if not closed:
        yield ok(f"{user.name} can write all {len(found)}")


def _directory(path: Path, user: User) -> Finding:
    try:
        return directory(path, user)
    except PermissionError as exc:
        return Finding("skipped", f"needs the right to look at {exc.filename}: ask as root or as {user.name}")


def directory(path: Path, user: User) -> Finding:
    """Whether a user can create and replace files in a directory.

    Raises OSError if its status cannot be read.
    """
    quoted = _quoted(path)
    if not exists(path):
        return missing(path, user)
    if not path.is_dir():
        return fail(f"{path} is no directory", f"remove the file that stands in its place: `ls -ld {quoted}`")
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        mount = mount_of(path)
        bind = "bind," if mount.only_here_read_only else ""
        return fail(f"{path} is on a read-only mount", f"`mount -o remount,{bind}rw {_quoted(mount.point)}`")
    closed = user.first_closed(path, WRITE | SEARCH)
    if closed is None:
        return ok(str(path))
    if closed == path:
        return fail(
            f"{user.name} cannot write {path}",
            f"`chown {user.name} {quoted}`, `chmod u+rwx {quoted}`",
        )
    return fail(
        f"{user.name} cannot reach {path}: {closed} is closed to it", f"`chmod o+x {_quoted(closed)}`"
    )


def missing(path: Path, user: User) -> Finding:
    """Return the finding of a directory that does not exist, with the command that creates it."""
    quoted = _quoted(path)
    if path.is_symlink():
        return fail(f"{path} is a symlink that leads nowhere", f"remove it: `rm {quoted}`")
    command = f"install -d -o {user.name} -g {group_name(user.gid)} {quoted}"
    return fail(f"{path} is missing", f"`{command}`", Fix("directory", command, path, (user.uid, user.gid)))


def exists(path: Path) -> bool:
    """Whether there is a file. Raises PermissionError if that cannot be seen."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def check_lock(site: Site) -> Iterator[Finding]:
    """Whether the process that holds the lock of the root is the daemon that serves it."""
    root = site.root
    holder = holder_of(root) if exists(root / LOCK) else None
    serving = None
    if site.has_schema:
        serving = any(it["alive"] and it["root"] == str(root) for it in site.status["consumers"])
    yield lock(holder, serving, this_pid_space=Path("/proc/locks").exists())


def lock(holder: int | None, serving: bool | None, *, this_pid_space: bool) -> Finding:
    """Judge who holds the lock. `serving`: whether a daemon of this root is alive; None if not known."""
    if not this_pid_space:
        raise Skipped("needs /proc/locks, which this system does not show")
    if holder is None:
        return ok(
            "free" if not serving else "held by a process that is not shown here, such as in a container"
        )
    if serving is False:
        return fail(
            f"process {holder} holds it, but no daemon serves this root",
            f"`ps -fp {holder}` shows it; if it is no omnicdc that is starting: `kill {holder}`",
        )
    return ok(f"held by process {holder}")


def check_access(site: Site) -> Iterator[Finding]:
    """Whether the service's user can keep owner, group, mode and ACL of each file that it replaces."""
    user = site.daemon_user
    found = [
        finding
        for scanner in site.scanners.values()
        if (file := site.root / scanner.path).exists() and (finding := kept_access(file, user))
    ]
    yield from found
    if not found:
        yield ok(f"{user.name} can keep the rights of each file")


def kept_access(file: Path, user: User) -> Finding | None:
    """Return what a new version of a file, written by this user, would lose; None if nothing.

    Raises OSError if the file's status cannot be read.
    """
    found, quoted = file.stat(), _quoted(file)
    if user.uid == 0 or found.st_gid in user.groups:
        return None
    group, mode, acl = group_name(found.st_gid), found.st_mode & 0o777, acl_of(file)
    join = f"`usermod -aG {group} {user.name}` and restart the daemon"
    remedy = f"{join}, or `chgrp {group_name(user.gid)} {quoted}`"
    seen = f"{user.name} is not in group {group} of {file}"
    try:
        new = access(user.uid, user.gid, *for_another_group(mode, acl))
        wider = widens(access(found.st_uid, found.st_gid, mode, acl), new)
    except ValueError as exc:
        return fail(f"{file}: {exc}", f"`setfacl -b {quoted}`")
    if wider:
        return fail(f"{seen}: the new file would be open to more users, so it is not replaced", remedy)
    return warn(f"{seen}: a new version gets another group", remedy)


def check_manifest(site: Site) -> Iterator[Finding]:
    """Whether the files are those that the manifest describes."""
    root = site.root
    manifest = read_manifest(root)
    if manifest is None:
        if (root / MANIFEST).exists():
            yield fail(
                f"{MANIFEST} cannot be read",
                f"`rm {_quoted(root / MANIFEST)}`: the daemon writes it anew; `omnicdc rebuild`",
            )
        else:
            if _nothing_published(site) and site.has_schema and not site.status["consumers"]:
                raise Skipped("nothing was published here yet: see `daemons`")
            start = "`systemctl start omnicdc`" if site.unit else "`omnicdc run`"
            yield warn(f"{MANIFEST} is missing: nothing was published here yet", start)
        return
    changed = [
        path
        for path, published in manifest.registries.items()
        if not intact(root, path, published) and not rehash(root, path, published)
    ]
    for path in changed:
        gone = not (root / path).exists()
        yield fail(
            f"{path} {'is missing' if gone else 'was changed by another process'} since generation "
            f"{manifest.generation}",
            "the daemon's next sweep restores it, or at once: `omnicdc rebuild`",
        )
    if not changed:
        yield ok(f"generation {manifest.generation}: {len(manifest.registries)} files are as published")


def check_content(site: Site) -> Iterator[Finding]:
    """Whether the files hold what CMP holds: `omnicdc verify --all`."""
    conn, config = site.installed, site.config
    site.require_tables()
    if not (site.root / REGISTRY).is_dir():
        raise Skipped(f"{site.root / REGISTRY} is missing")
    if _nothing_published(site):
        raise Skipped("nothing was published here yet: see `manifest`")
    report = verify_all(conn, config, *known_inputs(config))
    wrong = [it for it in report.registries if not it.good]
    for it in wrong:
        remedy = it.hint or "`omnicdc verify --all`"
        yield fail(f"{it.registry}: {it.detail or it.status}", remedy)
    if not report.inputs_known:
        remedy = (
            f"is the daemon running? `omnicdc status`; else as root: `ls -la {_quoted(config.state_dir)}`"
        )
        yield warn(f"fields of clones and GitHub were not compared: {UNKNOWN_INPUTS}", remedy)
    if not wrong:
        yield ok(f"{len(report.registries)} files hold what CMP holds")


def check_peoples_files(site: Site) -> Iterator[Finding]:
    """Whether overrides and exclusions parse."""
    site.require_files()
    settings = InputSettings.of(site.config)
    readings = [file.read() for file in peoples_files(settings)]
    faults = [fault for reading in readings for fault in reading.faults]
    notices = [notice for reading in readings for notice in reading.notices]
    for fault in faults:
        yield Finding.of_text(fault) if " - " in fault else fail(fault, "fix that line: docs/people-files.md")
    for notice in notices[:MOST]:
        yield warn(notice, "fix that line, or remove it")
    if not faults and not notices:
        overrides, exclusions = (len(it.value) for it in readings)
        yield ok(f"overrides ({overrides}) and exclusions ({exclusions}) parse")


def _nothing_published(site: Site) -> bool:
    root = site.root
    return not any(
        exists(root / it) for it in (Path(MANIFEST), *(Path(it.path) for it in site.scanners.values()))
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
