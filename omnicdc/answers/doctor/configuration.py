"""Checks the settings, the registries that they declare, and the password."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.answers.doctor.finding import Skipped, fail, ok
from omnicdc.answers.doctor.users import READ
from omnicdc.errors import ConfigError
from omnicdc.registries.catalog import unread_sources
from omnicdc.registries.plugins import plugins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.answers.doctor.finding import Finding
    from omnicdc.answers.doctor.site import Site

RENEW = "`systemd-tmpfiles --create omnicdc.conf`, or as root: "


def check_settings(site: Site) -> Iterator[Finding]:
    """Whether the settings are valid, and where each one that is set comes from."""
    if isinstance(site.loaded, ConfigError):
        for line in str(site.loaded).splitlines():
            yield fail(line, "fix it there; all settings: docs/install.md, Configuration")
        return
    seen, note = settings_seen(site.config.origins), site.config.file_note
    yield ok(f"{seen}; {note}" if note else seen)


def settings_seen(places: Mapping[str, str]) -> str:
    """Return which settings are set, by the place that sets them."""
    if not places:
        return "no setting is set: the defaults apply"
    by_file: dict[str, list[str]] = {}
    for name, where in places.items():
        file, colon, line = where.rpartition(":")
        by_file.setdefault(file if colon and line.isdecimal() else "", []).append(
            f"{name} (line {line})" if colon and line.isdecimal() else f"{name} ({where})"
        )
    return "; ".join(
        f"{file}: {', '.join(names)}" if file else ", ".join(names) for file, names in by_file.items()
    )


def check_registries(site: Site) -> Iterator[Finding]:
    """Whether the declared registries are valid, and the plug-ins can be loaded."""
    if isinstance(faults := site.registries_or_fault, ConfigError):
        for line in str(faults).splitlines():
            yield fail(line, "fix the declaration: docs/add-a-registry.md")
        return
    for fault in plugins().faults:
        yield fail(fault.rpartition(" - ")[0], "repair the package, or `pip uninstall` it")
    for source in unread_sources(site.config, site.scanners.values()):
        place = site.config.origins.get("tables", "tables")
        yield fail(f"tables names a source {source}, which no registry reads", f"remove it: {place}")
    own = [it for it in site.scanners.values() if it.builtin]
    others = [it.name for it in site.scanners.values() if not it.builtin]
    yield ok(f"{len(own)} of omnicdc's own" + (f", and {', '.join(others)}" if others else ""))


def check_password(site: Site) -> Iterator[Finding]:
    """Whether the password is known, and the service's user can read what it needs to log in."""
    login = site.config.target.login()
    password = login.sources.partition(", ")[2]
    if "which libpq ignores" in password:
        yield fail(password, "libpq reads a password file of this user only: the command above")
    else:
        yield ok(password)
    yield from _closed_files(site)


def _closed_files(site: Site) -> Iterator[Finding]:
    """Yield a finding for each file of the service that its user cannot read, or that others can."""
    unit = site.unit
    if unit is None:
        return
    credential = Path(unit.credential) if unit.credential.startswith("/") else None
    if credential is not None:
        yield _credential(credential)
    if file := unit.environment.get("OMNICDC_CONFIG"):
        yield readable(site, Path(file), "the configuration")
    target = site.config.target
    if target.password_file and file and target.password_source.startswith(f"{file}:"):
        yield readable(site, target.password_file.path, "the password")


def _credential(file: Path) -> Finding:
    """Whether the file of the service's password is there, and is closed to other users."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return fail(
            f"{file} is missing: systemd does not start the service",
            f"`(umask 077; read -rsp 'Password: ' p; printf %s \"$p\" > {file})`; or, without a password, "
            "`systemctl edit omnicdc`: docs/install.md, No password",
        )
    except PermissionError:
        raise Skipped(f"needs the right to look at {file}: ask as root") from None
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        return fail(f"{file} can be read by other users (mode {mode:04o})", f"`chmod 600 {file}`")
    return ok(f"{file} is closed to other users; systemd hands it to the service")


def readable(site: Site, file: Path, what: str) -> Finding:
    """Whether the service's user can read a file."""
    user = site.daemon_user
    if not os.path.lexists(file):
        return fail(f"{file} is missing: {what} of the service", "write it: docs/install.md, Configuration")
    closed = user.first_closed(file, READ)
    if closed is None:
        return ok(f"{user.name} can read {file}")
    group = site.unit.group if site.unit and site.unit.group else user.name
    remedy = f"`chgrp {group} {closed}`, `chmod g+r{'x' if closed != file else ''} {closed}`"
    return fail(f"{user.name} cannot read {file}: {closed} is closed to it", remedy)
