"""The shape of a bundle: its parts, and what is missing of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from omnicdc.formats.answer import as_json


class Unavailable(Exception):  # noqa: N818 - named for the state, as DatabaseUnavailable
    """A part cannot be had; the message says why."""


@dataclass(slots=True)
class Bundle:
    """The parts that were collected."""

    parts: dict[str, str] = field(default_factory=dict)
    """File name to content, which is clean."""
    missing: dict[str, str] = field(default_factory=dict)
    """File name to the reason why there is none."""

    def reasons(self) -> dict[str, list[str]]:
        """Return each reason, and the files that are missing for it."""
        found: dict[str, list[str]] = {}
        for name, why in self.missing.items():
            found.setdefault(why, []).append(name)
        return found


def as_text(value: object) -> str:
    """Return a value as JSON, with a newline at its end."""
    return as_json(value) + "\n"


README = """\
What is in here
===============

Facts for a bug report about omnicdc, collected by `omnicdc support-bundle`
on {host} at {at}.

{parts}

What is missing
---------------

{missing}

What was left out on purpose
----------------------------

- Passwords. Known ones are replaced by ***, wherever they stand: of connection
  strings, variables, password files, and arguments of commands after
  publications.
- What CMP says about projects. Entries of registries are not in here, only
  their number, size and digest. Keys are replaced by (uuid), addresses of
  repositories by (repository), and {names}.
- The files that people write (overrides, exclusions), and the text of the
  configuration file. `config.json` has the settings.

Names of hosts, users, roles, tables, columns, registries and paths are in here.
Read the files before you send them.
"""


def readme(bundle: Bundle, *, host: str, at: str, known_names: int) -> str:
    """Return the text of the file README.txt in the bundle."""
    missing = "\n".join(f"- {', '.join(names)}: {why}" for why, names in bundle.reasons().items())
    names = (
        f"names of projects by (project):\n  the {known_names} names in the canonical registry on this host"
        if known_names
        else "names of projects\n  only where omnicdc knows that it is one: no canonical registry was read"
    )
    return README.format(
        host=host,
        at=at,
        parts="\n".join(f"- {name}: {ABOUT.get(name, '')}".rstrip(": ") for name in bundle.parts),
        missing=missing or "Nothing.",
        names=names,
    )


ABOUT = {
    "versions.json": "omnicdc, Python, its libraries, the system",
    "config.json": "each setting, and where it was set",
    "doctor.json": "the answer of `omnicdc doctor`",
    "status.json": "the answer of `omnicdc status`, without projects",
    "history.json": "the last generations",
    "server.json": "PostgreSQL's version and parameters",
    "capture.sql": "omnicdc's functions and triggers, as they are installed",
    "manifest.json": "what was published last",
    "files.txt": "directories, owners, modes, ACLs; sizes and digests of the registries",
    "unit.txt": "the unit with its drop-ins, and its state",
    "journal.txt": "the last lines of the log",
    "process.txt": "size and limits of the daemon",
}
