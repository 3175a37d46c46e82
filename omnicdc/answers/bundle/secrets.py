"""Looks up what is private on this host, so that `privacy` finds it: passwords, and names of projects."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.db import masking
from omnicdc.errors import OmnicdcError
from omnicdc.log.scrub import hidden_arguments, names_secret
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.config.settings import Config

PATIENCE_S = 0.5
"""How many seconds to wait for the password file."""

_USER_INFO = re.compile(r"\w://[^\s/:@]*:([^\s/@]+)@")


def secrets(config: Config | None, environ: Mapping[str, str]) -> frozenset[str]:
    """Return every password that can be found."""
    found = {*_of_environment(environ), *masking.secrets(environ.get("OMNICDC_DSN"))}
    found |= set(_of_passfile(environ))
    if config is not None:
        target = config.target
        found |= {*masking.secrets(target.dsn), *masking.secrets(target.beside)}
        with suppress(OmnicdcError, ValueError, OSError):
            if target.password_file:
                found.add(target.password_file.read(PATIENCE_S))
        commands = [
            config.on_publish,
            *(hook for it in config.registries for hook in (it.on_publish, it.check)),
        ]
        found |= {it for command in commands for it in hidden_arguments(command)}
        found |= {secret for command in commands for it in command for secret in _USER_INFO.findall(it)}
    return frozenset(found)


def project_names(config: Config | None) -> frozenset[str]:
    """Return the names in the canonical registries of this host: projects and agents."""
    found: set[str] = set()
    root = (config.shadow or config.root) if config else None
    if root is None:
        return frozenset()
    for scanner in ("cmp_projects", "cmp_agents"):
        with suppress(OSError, ValueError, KeyError, AttributeError, TypeError):
            entries = json.loads((root / scanners()[scanner].path).read_bytes())["uuids"].values()
            found |= {str(it["name"]) for it in entries if it.get("name")}
    return frozenset(found)


def _of_environment(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        if names_secret(name):
            yield value
        yield from _USER_INFO.findall(value)


def _of_passfile(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the passwords of libpq's password file."""
    file = Path(environ.get("PGPASSFILE") or Path(environ.get("HOME", "/nonexistent"), ".pgpass"))
    with suppress(OSError):
        for line in file.read_text("utf-8", "replace").splitlines():
            fields = re.split(r"(?<!\\):", line, maxsplit=4)
            if len(fields) == 5:  # noqa: PLR2004 - host, port, database, user, password
                yield re.sub(r"\\(.)", r"\1", fields[4])
