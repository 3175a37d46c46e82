"""Reads the unit omnicdc.service: from systemd where it runs, else from the files of the unit."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAME = "omnicdc.service"

DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
               "/usr/lib/systemd/system", "/lib/systemd/system")  # fmt: skip
"""Where units are, the first one wins: systemd.unit(5)."""

NO_UNIT = (
    "there is no unit omnicdc.service here: not a registry host, or the daemon is started by other means"
)

STATE = Path("/var/lib")
"""Where systemd creates the state directory of a service."""

CREDENTIALS = Path("/run/credentials") / NAME
"""Where systemd puts the credentials while the service runs."""

ANSWER_S = 5.0

_SHOWN = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "DropInPaths",
    "NeedDaemonReload", "User", "Group", "SupplementaryGroups", "ReadWritePaths", "ProtectSystem",
    "Environment", "StateDirectory", "ExecStart", "Result",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """The service, as systemd would start it, or as its files say."""

    file: str
    drop_ins: Sequence[str] = ()
    live: bool = False
    """Whether systemd answered; else the files were read."""
    enabled: str = ""
    active: str = ""
    """ActiveState and SubState, such as `active (running)`."""
    result: str = ""
    needs_reload: bool = False
    """Whether the files are newer than what systemd has read."""
    user: str = ""
    group: str = ""
    supplementary_groups: Sequence[str] = ()
    writable: Sequence[str] = ()
    strict: bool = False
    """Whether the service may write below `writable` and its state directory only."""
    environment: Mapping[str, str] = field(default_factory=dict)
    state_directory: str = ""
    """The name of its state directory below /var/lib; may be empty."""
    credential: str = ""
    """The file of the credential cmp_password."""
    program: str = ""
    fault: str = ""
    """Why systemd cannot load it."""

    @property
    def open_to_writes(self) -> tuple[Path, ...]:
        """The directories that the service may write: those of the unit, and its state directory."""
        state = [STATE / self.state_directory] if self.state_directory else []
        return (*map(Path, self.writable), *state)


def read_unit(environ: Mapping[str, str]) -> Unit | None:
    """Return the unit; None if this host has none. Without systemd, only the files are read."""
    program = shutil.which("systemctl", path=environ.get("PATH"))
    return (_live(program) if program else None) or _from_files(environ)


def _live(program: str) -> Unit | None:
    command = [program, "show", NAME, "--no-pager", f"--property={','.join(_SHOWN)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    shown: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        shown.setdefault(name, []).append(value)
    if done.returncode or not shown.get("LoadState") or shown["LoadState"] == ["not-found"]:
        return None
    unit = unit_of({name: " ".join(filter(None, values)) for name, values in shown.items()})
    # systemctl shows no credentials.
    assigned = _assigned([Path(it) for it in (unit.file, *unit.drop_ins) if it])
    return replace(unit, credential=_credential(assigned.get("LoadCredential", ())))


def unit_of(shown: Mapping[str, str]) -> Unit:
    """Return the unit that `systemctl show` describes."""
    get = shown.get
    state, sub = get("ActiveState", ""), get("SubState", "")
    load = get("LoadState", "")
    return Unit(
        file=get("FragmentPath", ""),
        drop_ins=tuple(get("DropInPaths", "").split()),
        live=True,
        enabled=get("UnitFileState", ""),
        active=f"{state} ({sub})" if sub else state,
        result=get("Result", ""),
        needs_reload=get("NeedDaemonReload") == "yes",
        user=get("User", ""),
        group=get("Group", ""),
        supplementary_groups=tuple(get("SupplementaryGroups", "").split()),
        writable=_paths(get("ReadWritePaths", "").split()),
        strict=get("ProtectSystem") == "strict",
        environment=_pairs(get("Environment", "").split()),
        state_directory=get("StateDirectory", ""),
        program=_program(get("ExecStart", "")),
        fault="" if load in ("loaded", "") else load,
    )


def _from_files(environ: Mapping[str, str]) -> Unit | None:
    given = environ.get("SYSTEMD_UNIT_PATH")
    directories = [Path(it) for it in (given.split(":") if given else DIRECTORIES) if it]
    file = next((it / NAME for it in directories if (it / NAME).is_file()), None)
    if file is None:
        return None
    drop_ins = {it.name: it for each in reversed(directories) for it in sorted(each.glob(f"{NAME}.d/*.conf"))}
    found = _assigned([file, *(drop_ins[name] for name in sorted(drop_ins))])
    last = {name: values[-1] for name, values in found.items() if values}
    return Unit(
        file=str(file),
        drop_ins=tuple(str(drop_ins[name]) for name in sorted(drop_ins)),
        user=last.get("User", ""),
        group=last.get("Group", ""),
        supplementary_groups=tuple(" ".join(found.get("SupplementaryGroups", ())).split()),
        writable=_paths(" ".join(found.get("ReadWritePaths", ())).split()),
        strict=last.get("ProtectSystem") == "strict",
        environment=_pairs(found.get("Environment", ())),
        state_directory=last.get("StateDirectory", ""),
        credential=_credential(found.get("LoadCredential", ())),
        program=last.get("ExecStart", "").split(" ")[0],
    )


def _assigned(files: Iterable[Path]) -> dict[str, list[str]]:
    """Return the assignments of [Service] in these files, which are read in this order.

    An empty assignment removes those before it, as systemd does. A file that cannot be read is left out.
    """
    found: dict[str, list[str]] = {}
    for file in files:
        section = ""
        try:
            lines = file.read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("["):
                section = line.strip()
            elif section == "[Service]" and "=" in line and not line.startswith(("#", ";")):
                name, _, value = (part.strip() for part in line.partition("="))
                found[name] = [*found.get(name, ()), value] if value else []
    return found


def _paths(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word.lstrip("-+") for word in words)


def _pairs(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.strip('"').partition("=") for word in words)}


def _credential(words: Iterable[str]) -> str:
    return next((it.partition(":")[2] for it in words if it.startswith("cmp_password:")), "")


def _program(exec_start: str) -> str:
    """Return the program of `{ path=/opt/… ; argv[]=… ; … }`."""
    _, found, rest = exec_start.partition("path=")
    return rest.split(" ")[0] if found else ""


def as_service(unit: Unit, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with those that systemd sets for the service, as far as they can be known here.

    These are its state directory, and the directory of its password if this user may read it. The password is
    left out if a variable names another database or user.
    """
    added: dict[str, str] = {}
    if unit.state_directory:
        added["STATE_DIRECTORY"] = str(STATE / unit.state_directory)
    if unit.credential and not any(name.startswith(("OMNICDC_DSN", "CMP_DB_", "PG")) for name in environ):
        places = [
            CREDENTIALS,
            *([Path(unit.credential).parent] if unit.credential.endswith("/cmp_password") else []),
        ]
        readable = [it for it in places if os.access(it / "cmp_password", os.R_OK)]
        added |= {"CREDENTIALS_DIRECTORY": str(readable[0])} if readable else {}
    return {**added, **environ}
