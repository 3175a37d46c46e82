"""The command `cutover back-out`: the way back from a switch. It needs neither a daemon nor CMP."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.cutover.writers import paths_of
from omnicdc.cli.output import answer, confirm, say
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config

CHANGED = "the registries that Omni's tools read"

COMMAND = "omnicdc cutover back-out"

WITHOUT = f"`systemctl stop omnicdc`, then `{COMMAND}`: it needs no daemon"


@click.command("back-out", cls=Answering)
@options.registries
@click.option(
    "--keep-files", is_flag=True, help="Leave omnicdc's files below the root; Omni's tools read them."
)
@options.yes
@options.timeout(300.0)
@options.output
def back_out(*, keep_files: bool, yes: bool, timeout: float, output: Output, **given: Any) -> None:
    """Publish into the shadow again, and put Omni's files back.

    Then start Omni's scanners again. CMP and its database stay as they are. The command needs neither CMP nor
    a running daemon. If it could not put every file back, repeat it.

    Exit status 0 if it is done, 1 if a file could not be put back.
    """
    from omnicdc.answers.cutover.access import published_in, refuse_full, refuse_unwritable
    from omnicdc.cli.cutover import backup, setting

    config = options.load(given)
    file = setting.file_of(config, COMMAND)
    root, before = config.require_root(), setting.load(file)
    setting.switched_on(before)  # raises before anything is looked at
    paths = paths_of(config)
    pid = _daemon(root, config.state_dir)
    kept = None if keep_files else backup.newest(config.state_dir)
    wanted = backup.present(kept, paths) if kept else []
    if setting.is_on(before):
        # An earlier back-out has begun. A file that Omni's scanners wrote since then is newer than the copy.
        wanted = [path for path in wanted if backup.is_ours(root, path)]
        _refuse_repeat(root, wanted)
    refuse_unwritable(
        pid,
        COMMAND,
        by_daemon=[config.state_dir],
        by_caller=[file.parent, *(published_in(root, wanted) if wanted else [])],
    )
    if kept:
        refuse_full({root: backup.sizes(kept, wanted)}, one_by_one=True)
    question = f"Put back Omni's files below {root}, and publish" if wanted else "Publish"
    confirm(f"{question} into the shadow?", yes=yes, changed=CHANGED)
    with ExitStack() as cleanup:
        if wanted and pid is None:
            _lock(root, cleanup)
        note = _reload(config, file, before, timeout, pid)
        found = backup.put_back(kept, root, wanted) if kept else {}
    restored = [path for path, fault in found.items() if not fault]
    faults = [fault for fault in found.values() if fault]
    left = [path for path in paths if (root / path).exists() and backup.is_ours(root, path)] if kept else []
    left = [path for path in left if path not in found]
    result = {
        "switched": False,
        "root": str(root),
        "kept": str(kept) if kept else None,
        "restored": restored,
        "faults": faults,
        "left": left,
        "note": note,
    }
    answer(result, output, lambda: _show(result, files=len(found)))
    sys.exit(NO if faults else YES)


def _daemon(root: Path, state_dir: Path) -> int | None:
    from omnicdc.daemon.reload import daemon_of

    try:
        return daemon_of(root, state_dir)
    except ConfigError:
        return None


def _refuse_repeat(root: Path, wanted: list[str]) -> None:
    """Raise ConfigError if an earlier back-out has nothing left to do."""
    from omnicdc.files.lock import holder_of

    if not wanted and holder_of(root) is None:
        raise ConfigError(
            f"`shadow` is on already, and below {root} there is no file of omnicdc's to be replaced",
            hint="`omnicdc reload`, if the daemon has not read it",
        )


def _lock(root: Path, cleanup: ExitStack) -> None:
    """Hold the lock of the root: no daemon publishes there now, not even one in a container.

    Raises LockBusy. Without its file no daemon has published there, and none is created.
    """
    from omnicdc.files.lock import LOCK, RootLock

    if (root / LOCK).exists():
        cleanup.enter_context(RootLock(root))


def _reload(config: Config, file: Path, before: str, timeout_s: float, pid: int | None) -> str:
    """Change the configuration, and have the daemon read it. Return what the user should know of it."""
    from omnicdc.cli.cutover import setting
    from omnicdc.cli.cutover.reload import reload_daemon

    after = setting.switched_on(before)
    if pid is None:
        setting.write(file, after)
        return "no daemon runs: it reads the setting `shadow` when it starts - `systemctl start omnicdc`"
    outcome = reload_daemon(
        file,
        before,
        after,
        state_dir=config.state_dir,
        timeout_s=timeout_s,
        pid=pid,
        may_wait=True,
        hint=WITHOUT,
    )
    return f"the daemon waits: {outcome.error}" if outcome.state == "starting" else ""


def _show(result: dict[str, Any], *, files: int) -> None:
    root, done = result["root"], not result["faults"]
    many = f"{len(result['restored'])}" + ("" if done else f" of {files}")
    what = f"{many} files below {root} are as Omni wrote them" if result["kept"] else "its files stay"
    say(f"omnicdc publishes into the shadow; {what}", good=done)
    for line in _notes(result):
        say(line)
    for fault in result["faults"]:
        say(fault, good=False)
    if not done:
        say(f"then `{COMMAND}` again: it puts back the others")


def _notes(result: dict[str, Any]) -> Iterator[str]:
    if result["note"]:
        yield result["note"]
    if result["left"]:
        yield (
            f"no copy of Omni's is kept of {', '.join(result['left'])}: omnicdc wrote it, and does not keep "
            "it current below the root any more"
        )
