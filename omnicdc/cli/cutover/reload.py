"""Changes the configuration file, and has the daemon read it. If that fails, both are as before."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.cli.command import NO
from omnicdc.cli.cutover import setting
from omnicdc.cli.output import complain
from omnicdc.daemon.reload import request
from omnicdc.errors import ConfigError, OmnicdcError

if TYPE_CHECKING:
    from omnicdc.daemon.reload import Outcome

UNDO_S = 10.0
"""Seconds for the daemon to return to the configuration from before."""


def reload_daemon(
    file: Path,
    before: str,
    after: str,
    *,
    state_dir: Path,
    timeout_s: float,
    pid: int,
    may_wait: bool = False,
    hint: str = "",
) -> Outcome:
    """Change the configuration file, and have the daemon read it; if that fails, undo both.

    With `may_wait`, a daemon that has taken the configuration and waits for CMP is no failure. `hint` is what
    to do first if this fails. Raises ConfigError if the configuration is not in force within the time.
    """
    if after != before:
        setting.write(file, after)
    try:
        outcome = request(Path(), state_dir, timeout_s, pid=pid, may_wait=may_wait)
        if outcome.state == "in_force" or (may_wait and outcome.state == "starting"):
            return outcome
        raise ConfigError(
            f"the daemon did not take the new configuration: {outcome.error or outcome.state}",
            hint=outcome.hint or "`systemctl status omnicdc` shows what it waits for",
        )
    except OmnicdcError as exc:
        if after != before:
            _undo(file, before, exc)
            exc.message += f"; {file} is as it was before"
            with suppress(OmnicdcError):
                request(Path(), state_dir, UNDO_S, pid=pid)
        if hint and not exc.hint.startswith(hint):
            exc.hint = f"{hint}; {exc.hint}"
        raise


def _undo(file: Path, before: str, cause: OmnicdcError) -> None:
    """Change the configuration file back. If that fails, exit with NO: the other status says "unchanged"."""
    try:
        setting.write(file, before)
    except OmnicdcError as exc:
        complain(f"{cause}\n{file} is changed, and could not be changed back: {exc}")
        sys.exit(NO)
