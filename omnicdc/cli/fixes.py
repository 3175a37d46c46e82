"""Carries out the remedies of `omnicdc doctor --fix`. Each is safe, and harmless if repeated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from omnicdc.capture import install
from omnicdc.capture.attempts import who_may
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from omnicdc.answers.doctor.finding import Fix
    from omnicdc.answers.doctor.site import Site


def refusal(fix: Fix, site: Site) -> str:
    """Return who could carry out a remedy, if this role cannot; empty text if it can be tried."""
    if fix.kind != "install" or site.role.installs:
        return ""
    return f"role {site.role.name} may not; {who_may(site.connect(), 'install')}"


def carry_out(fix: Fix, site: Site) -> str | None:
    """Carry out one remedy; return why it failed, None if it did not."""
    try:
        if fix.kind == "directory":
            _make_directory(fix)
        else:
            _install(site)
    except OmnicdcError as exc:
        return str(exc)
    except OSError as exc:
        return f"{exc.strerror}: {exc.filename}"
    return None


def _make_directory(fix: Fix) -> None:
    """Create a directory and those above it; give those that are new to the service's user."""
    assert fix.path is not None  # noqa: S101 - see Fix
    missing = [it for it in (fix.path, *fix.path.parents) if not it.exists()]
    for path in reversed(missing):
        path.mkdir()
        if fix.owner and os.geteuid() == 0:
            os.chown(path, *fix.owner)


def _install(site: Site) -> None:
    """Install as `omnicdc install` does with the same configuration."""
    scanners = site.scanners.values()
    install.install(site.connect(), install.wanted(site.config, scanners))
