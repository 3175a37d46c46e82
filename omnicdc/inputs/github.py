"""Asks GitHub for the repositories of owners, by its command `gh`, which never prompts here."""

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
_FAULTS_TOLD = 5
_LOGGED_OUT = 4  # gh's exit code: `gh help exit-codes`
_OWNER = re.compile(r"[a-z0-9][\w-]*", re.ASCII)
_SECRET = re.compile(r"\b(gh[a-z]_|github_pat_)\w+", re.ASCII)
_QUIET = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1", "GH_PAGER": "cat"}
_OURS = ("OMNICDC_", "CMP_DB_", "PG", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET")
"""How the variables begin that are none of its business, the database's password among them."""

_TALKATIVE = ("GH_DEBUG", "DEBUG", "GH_FORCE_TTY", "CLICOLOR_FORCE")


class _Unlisted(Exception):  # noqa: N818 - never leaves this module
    """One owner's repositories could not be listed."""

    def __init__(self, reason: str, *, for_all: bool = False) -> None:
        super().__init__(reason)
        self.for_all = for_all


@dataclass(frozen=True, slots=True)
class Listing:
    """The repositories that GitHub listed, by URL key, and whose.

    Of these owners, these are all there are.
    """

    elements: Elements
    owners: frozenset[str]
    """In lower case, without those that could not be listed, or not whole."""
    faults: tuple[str, ...] = ()


def fetch(owners: Iterable[str], stop: Stop, timeout_s: float = _TIMEOUT_S) -> Listing:
    """List the repositories of these owners, and say why some could not be listed.

    What fails is merely absent: the caller keeps what it knew. An owner that GitHub does not know is one
    fault; no `gh`, a `gh` that is logged out, a time-out, or a stop (which kills `gh`) ends the round.
    """
    found: dict[str, Element] = {}
    listed: set[str] = set()
    faults: list[str] = []
    gh = shutil.which("gh")
    for owner in sorted({owner.strip().lower() for owner in owners}):
        if stop.requested:
            break
        try:
            reading = _listed(gh, owner, stop, timeout_s)
        except _Unlisted as exc:
            faults.append(f"gh repo list {owner}: {exc}; what was known of its repositories stays")
            if exc.for_all:
                break
        else:
            found |= reading.value
            faults += reading.faults
            if not reading.faults:  # an element that cannot be used may be one that was there before
                listed.add(owner)
    return Listing(found, frozenset(listed), _the_first(faults))


def update(known: Elements, listing: Listing) -> Elements:
    """Return what is known after a listing: what GitHub listed before and does not list now is `gone`."""
    gone = {
        key: {**element, SOURCE: GONE}
        for key, element in known.items()
        if key not in listing.elements and (github(key) or ("",))[0] in listing.owners
    }
    return {**known, **gone, **listing.elements}


def is_installed() -> bool:
    """Say whether there is a `gh` to ask."""
    return shutil.which("gh") is not None


def load(state_dir: Path) -> Elements:
    """Return what was saved; where that is nothing, or damaged, nothing: the next round fetches it again."""
    try:
        saved = orjson.loads(cache.read(state_dir / _FILE) or b"[]")
    except orjson.JSONDecodeError:
        return {}
    return by_key(saved, _FILE).value if isinstance(saved, list) else {}


def save(state_dir: Path, elements: Elements) -> None:
    """Remember for the next start; raises `ConfigError` where the state directory cannot be written to."""
    cache.write(state_dir / _FILE, orjson.dumps(list(elements.values()), option=orjson.OPT_INDENT_2))


def _the_first(faults: list[str]) -> tuple[str, ...]:
    """Return a few: a thousand owners that GitHub does not know are one thing to fix."""
    more = len(faults) - _FAULTS_TOLD
    return (*faults[:_FAULTS_TOLD], f"gh repo list: {more} more like these") if more > 0 else tuple(faults)


def _listed(gh: str | None, owner: str, stop: Stop, timeout_s: float) -> Reading[Elements]:
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
    """Return what the command prints.

    Files and not pipes, so that waiting for the end is all there is to do.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as talk:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=talk, env=_env(), start_new_session=True
        )
        try:
            code = _wait(process, stop, timeout_s)
        finally:
            _kill(process)
        if code != 0:
            raise _Unlisted(_reason(code, _text(talk)), for_all=code == _LOGGED_OUT)
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
    """End the command and all that it started."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _reason(code: int, talk: bytes) -> str:
    said = next(iter(talk.decode(errors="replace").strip().splitlines()), "")
    hint = " - run: gh auth login" if code == _LOGGED_OUT else ""
    return f"exit {code} ({_SECRET.sub('***', said)}){hint}"


def _env() -> dict[str, str]:
    ours = {name for name in os.environ if name.startswith(_OURS) or name in _TALKATIVE}
    return {name: value for name, value in os.environ.items() if name not in ours} | _QUIET


def _text(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
