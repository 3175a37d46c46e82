"""Checks the unit of the daemon: installed, enabled and active; its user, program and paths."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.answers.doctor.finding import Finding, Skipped, fail, ok, warn
from omnicdc.answers.doctor.users import READ, SEARCH
from omnicdc.filesystem.atomic import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.doctor.site import Site
    from omnicdc.answers.doctor.unit import Unit


def check_unit(site: Site) -> Iterator[Finding]:
    """Whether the unit is installed, enabled, read again after changes, and active."""
    if site.unit is None:
        raise Skipped(site.no_unit)
    problems = list(unit(site.unit))
    yield from problems
    if not problems:
        drop_ins = f", drop-ins {', '.join(site.unit.drop_ins)}" if site.unit.drop_ins else ", no drop-ins"
        state = (
            f", {site.unit.active}" if site.unit.live else "; systemd does not run here, its files were read"
        )
        yield ok(f"{site.unit.file}{drop_ins}{state}")


def unit(found: Unit) -> Iterator[Finding]:
    """Yield what is wrong with the unit as systemd has it."""
    if found.fault:
        yield fail(
            f"systemd cannot load {found.file}: {found.fault}", "`systemctl status omnicdc` shows the line"
        )
        return
    if found.needs_reload:
        yield fail(
            "the unit's files are newer than what systemd has read",
            "`systemctl daemon-reload`, `systemctl restart omnicdc`",
        )
    if found.live and found.enabled not in ("enabled", "enabled-runtime", "linked", "static", "alias", ""):
        yield warn(f"it is {found.enabled}: it does not start with the machine", "`systemctl enable omnicdc`")
    if found.live and not found.active.startswith(("active", "activating", "reloading")):
        why = f", result {found.result}" if found.result not in ("", "success") else ""
        yield fail(
            f"it is {found.active}{why}",
            "`systemctl start omnicdc`; `journalctl -u omnicdc -n 20` says why it ended",
        )


def check_user(site: Site) -> Iterator[Finding]:
    """Whether the user of the unit exists."""
    found = site.unit
    if found is None:
        raise Skipped(site.no_unit)
    try:
        user = site.daemon_user
    except Skipped:
        yield fail(
            f"the unit's user {found.user} does not exist",
            "`systemd-sysusers /opt/omnicdc/lib/sysusers.d/omnicdc.conf`",
        )
        return
    if user.uid == 0:
        yield warn("the service runs as root", "`User=omnicdc` in the unit: `systemctl revert omnicdc`")
    else:
        yield ok(user.name)


def check_program(site: Site) -> Iterator[Finding]:
    """Whether the program of the unit exists, and the service's user can run it."""
    if site.unit is None:
        raise Skipped(site.no_unit)
    program, user = site.unit.program, site.daemon_user
    if not program:
        raise Skipped("the unit's ExecStart= could not be read")
    path = Path(program)
    if not path.exists():
        yield fail(
            f"{program} is missing",
            "install omnicdc there (docs/install.md, Ten commands), or `systemctl edit omnicdc`",
        )
        return
    if (closed := user.first_closed(path.resolve(), READ | SEARCH)) is not None:
        yield fail(
            f"{user.name} cannot run {program}: {closed} is closed to it",
            f"`chmod -R go+rX {shlex.quote(str(closed))}`",
        )
        return
    yield ok(program)


def check_service_settings(site: Site) -> Iterator[Finding]:
    """Whether this command and the service read the same file of settings."""
    if site.unit is None:
        raise Skipped(site.no_unit)
    theirs = site.unit.environment.get("OMNICDC_CONFIG", "")
    ours = str(site.flags.get("config") or site.environ.get("OMNICDC_CONFIG") or "")
    if theirs and ours and Path(ours).absolute() != Path(theirs):
        yield warn(f"the service reads {theirs}, this command {ours}", f"`omnicdc doctor --config {theirs}`")
    else:
        yield ok(f"the service reads {theirs or 'no file'}")


def check_paths(site: Site) -> Iterator[Finding]:
    """Whether the unit lets the service write the registries and the state directory."""
    if site.unit is None:
        raise Skipped(site.no_unit)
    if not site.unit.strict:
        raise Skipped("the unit does not limit where the service may write")
    wanted = site.root / REGISTRY
    if any(wanted.is_relative_to(it) for it in site.unit.open_to_writes):
        yield ok(f"may write {wanted}")
    else:
        yield fail(
            f"the unit does not let the service write {wanted}",
            f"`systemctl edit omnicdc`: [Service] ReadWritePaths={wanted} (docs/install.md, Another root)",
        )
