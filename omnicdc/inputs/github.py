"""Lists the repositories of owners on GitHub, with the command `gh`, which is run without prompts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import orjson

from omnicdc.formats.urls import github
from omnicdc.inputs import cache
from omnicdc.inputs.inventory import GONE, SOURCE, Element, Elements, by_key
from omnicdc.stop import SLICE_S

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from omnicdc.inputs.reading import Reading
    from omnicdc.stop import Stop

_FILE = "github.json"
_FIELDS = "name,url,description,visibility,updatedAt,owner"
_ALL = "1000000"
_TIMEOUT_S = 300.0
_MAX_FAULTS = 5
_LOGGED_OUT = 4  # gh's exit code: `gh help exit-codes`
_OWNER = re.compile(r"[a-z0-9][\w-]*", re.ASCII)
_SECRET = re.compile(r"\b(gh[a-z]_|github_pat_)\w+", re.ASCII)
_QUIET = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1", "GH_PAGER": "cat"}
_PRIVATE_PREFIXES = ("OMNICDC_", "CMP_DB_", "PG", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET")
"""Prefixes of environment variables that `gh` must not get, such as the database's password."""

_VERBOSE = ("GH_DEBUG", "DEBUG", "GH_FORCE_TTY", "CLICOLOR_FORCE")


class _Unlisted(Exception):  # noqa: N818 - never leaves this module
    """One owner's repositories could not be listed."""

    def __init__(self, reason: str, *, for_all: bool = False) -> None:
        super().__init__(reason)
        self.for_all = for_all


@dataclass(frozen=True, slots=True)
class Listing:
    """The repositories that GitHub listed: all repositories of these `owners`."""

    elements: Elements
    """URL key to element."""
    owners: frozenset[str]
    """In lower case. Owners whose list failed or is incomplete are left out."""
    faults: tuple[str, ...] = ()


def fetch(owners: Iterable[str], stop: Stop, timeout_s: float = _TIMEOUT_S) -> Listing:
    """List the repositories of these owners. `faults` says why some could not be listed.

    An owner that could not be listed is left out, so that the caller keeps its known repositories. An owner
    that GitHub does not know is one fault. The other owners are not tried if `gh` is missing or logged out,
    if it takes longer than `timeout_s` seconds, or if a stop is requested, which kills `gh`.
    """
    found: dict[str, Element] = {}
    listed: set[str] = set()
    faults: list[str] = []
    gh = shutil.which("gh")
    for owner in sorted({owner.strip().lower() for owner in owners}):
        if stop.requested:
            break
        try:
            reading = _list(gh, owner, stop, timeout_s)
        except _Unlisted as exc:
            faults.append(f"gh repo list {owner}: {exc}; what was known of its repositories stays")
            if exc.for_all:
                break
        else:
            found |= reading.value
            faults += reading.faults
            if not reading.faults:  # an element that cannot be used may be a known repository
                listed.add(owner)
    return Listing(found, frozenset(listed), _first_faults(faults))


def update(known: Elements, listing: Listing) -> Elements:
    """Add a listing to the known elements. A repository that GitHub no longer lists is marked as `gone`."""
    gone = {
        key: {**element, SOURCE: GONE}
        for key, element in known.items()
        if key not in listing.elements and (github(key) or ("",))[0] in listing.owners
    }
    return {**known, **gone, **listing.elements}


def is_installed() -> bool:
    """Return True if `gh` is installed."""
    return shutil.which("gh") is not None


def load(state_dir: Path) -> Elements:
    """Return the saved elements. If there are none, or the file is damaged, they are fetched again."""
    try:
        saved = orjson.loads(cache.read(state_dir / _FILE) or b"[]")
    except orjson.JSONDecodeError:
        return {}
    return by_key(saved, _FILE).value if isinstance(saved, list) else {}


def save(state_dir: Path, elements: Elements) -> None:
    """Save the elements for the next start. Raises the errors of `cache.write`."""
    cache.write(state_dir / _FILE, orjson.dumps(list(elements.values()), option=orjson.OPT_INDENT_2))


def _first_faults(faults: list[str]) -> tuple[str, ...]:
    """Return the first faults and the number of the others, because many unknown owners are one cause."""
    more = len(faults) - _MAX_FAULTS
    return (*faults[:_MAX_FAULTS], f"gh repo list: {more} more like these") if more > 0 else tuple(faults)


def _list(gh: str | None, owner: str, stop: Stop, timeout_s: float) -> Reading[Elements]:
    if gh is None:
        raise _Unlisted("gh is not installed", for_all=True)
    if not _OWNER.fullmatch(owner):
        raise _Unlisted("not the name of an owner on GitHub")
    command = [gh, "repo", "list", owner, "--json", _FIELDS, "--limit", _ALL]
    try:
        elements = orjson.loads(_run(command, stop, timeout_s))
    except OSError as exc:
        raise _Unlisted(f"gh does not start ({exc})", for_all=True) from exc
    except orjson.JSONDecodeError as exc:
        raise _Unlisted("gh printed no JSON") from exc
    if not isinstance(elements, list):
        raise _Unlisted("gh printed no list")
    return by_key(elements, f"gh repo list {owner}")


def _run(command: list[str], stop: Stop, timeout_s: float) -> bytes:
    """Run the command and return its output.

    The output goes to files and not to pipes, so that we only need to wait for the end.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment(),
            start_new_session=True,
        )
        try:
            code = _wait(process, stop, timeout_s)
        finally:
            _kill(process)
        if code != 0:
            raise _Unlisted(_reason(code, _text(errors)), for_all=code == _LOGGED_OUT)
        return _text(output)


def _wait(process: subprocess.Popen[bytes], stop: Stop, timeout_s: float) -> int:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if stop.requested:
            raise _Unlisted("asked to stop", for_all=True)
        try:
            return process.wait(SLICE_S)
        except subprocess.TimeoutExpired:
            continue
    raise _Unlisted(f"no answer within {timeout_s:g} s", for_all=True)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the command and all processes that it started."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _reason(code: int, errors: bytes) -> str:
    line = next(iter(errors.decode(errors="replace").strip().splitlines()), "")
    hint = " - run: gh auth login" if code == _LOGGED_OUT else ""
    return f"exit {code} ({_SECRET.sub('***', line)}){hint}"


def environment() -> dict[str, str]:
    """Return the environment variables for `gh`: it asks nothing, and gets none of our secrets."""
    removed = {name for name in os.environ if name.startswith(_PRIVATE_PREFIXES) or name in _VERBOSE}
    return {name: value for name, value in os.environ.items() if name not in removed} | _QUIET


def _text(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
