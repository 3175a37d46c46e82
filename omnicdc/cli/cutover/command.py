"""The commands `cutover compare | switch | writers | back-out`: docs/cutover.md tells the whole story."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Group
from omnicdc.cli.cutover.back_out import CHANGED, back_out
from omnicdc.cli.cutover.writers import described, paths_of, pattern, writers
from omnicdc.cli.output import answer, complain, confirm, say
from omnicdc.cli.verify import compared, verified
from omnicdc.errors import ConfigError, OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from omnicdc.answers.cutover.comparison import RegistryComparison
    from omnicdc.answers.cutover.rulings import Unexplained
    from omnicdc.answers.cutover.writers import Schedule
    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config
    from omnicdc.verify.report import AllReport


SWITCH = "omnicdc cutover switch"

WARNED = 5
"""At most so many lines that start old scanners are shown by a switch."""

UNVERIFIED = (
    "the files are not verified: `omnicdc status` names what is held, and why; `omnicdc verify --all` shows "
    "what differs; `omnicdc cutover back-out` undoes the switch"
)


@click.group(cls=Group)
def cutover() -> None:
    """Replace Omni's scanners: compare, switch, look for old scanners, back out.

    docs/cutover.md describes the steps.
    """


cutover.add_command(writers)
cutover.add_command(back_out)


@cutover.command()
@options.registries
@options.output
def compare(*, output: Output, **given: Any) -> None:
    """Compare Omni's files with what omnicdc would write now.

    Differences with a known reason are counted by their reason; the others are listed. A project that CMP
    changed after Omni's scan is not counted against it.

    Exit status 0 if each difference has a known reason, 1 if not.
    """
    config = options.load(given)
    omnis, found = _omnis(config), _compared(config)
    good = all(it.agrees for it in found)
    result = {
        "agrees": good,
        "omnis": str(omnis),
        "registries": {it.registry: it.as_dict() for it in found},
    }

    def text() -> None:
        if omnis != config.root:
            say(f"below {config.root} are omnicdc's own files; Omni's are those kept in {omnis}")
        for it in found:
            _show(it)
        say(_verdict(found), good=good)

    answer(result, output, text)
    sys.exit(YES if good else NO)


@cutover.command()
@options.registries
@click.option("--accept-differences", is_flag=True, help="Switch although differences have no known reason.")
@pattern
@options.yes
@options.timeout(300.0)
@options.output
def switch(
    *, accept_differences: bool, pattern: str, yes: bool, timeout: float, output: Output, **given: Any
) -> None:
    """Publish below the root instead of the shadow.

    Stop Omni's scanners before. The command checks that everything can be written that it will write, checks
    the shadow, compares, keeps Omni's files in the state directory, switches the setting `shadow` off,
    reloads the daemon, and verifies the files. If the daemon refuses, everything stays as it was.

    Exit status 0 if the files below the root are verified, 1 if not.
    """
    from omnicdc.answers.cutover.access import published_in, refuse_full, refuse_unwritable
    from omnicdc.answers.cutover.writers import schedules
    from omnicdc.cli.cutover import backup, setting
    from omnicdc.cli.cutover.reload import reload_daemon
    from omnicdc.daemon.reload import daemon_of

    config = options.load(given)
    file = setting.file_of(config, SWITCH)
    live, wanted = replace(config, shadow=None), re.compile(pattern, re.IGNORECASE)
    shadow, root, paths = _shadow(config), live.require_root(), paths_of(live)
    before = setting.load(file)
    after = setting.switched_off(before)
    pid = daemon_of(shadow, config.state_dir)
    refuse_unwritable(
        pid,
        SWITCH,
        by_daemon=[*published_in(root, paths), config.state_dir],
        by_caller=[file.parent, config.state_dir / backup.DIRECTORY],
        read_by_caller=[root / path for path in paths],
    )
    refuse_full(
        {
            root: backup.sizes(shadow, paths),
            config.state_dir / backup.DIRECTORY: backup.sizes(root, paths),
        }
    )
    _refuse_writers(wanted, [root / path for path in paths])
    _refuse_different(verified(config), shadow)
    if not (accept_differences or all(it.agrees for it in _compared(config))):
        raise ConfigError(
            "differences to Omni's files have no known reason",
            hint="`omnicdc cutover compare -o text` lists them; if they are right: --accept-differences",
        )
    started = schedules(wanted)
    _warn(started)
    question = f"Publish below {root} from now on?"
    if started:
        question = f"Old scanners are still started, and overwrite the files. {question}"
    confirm(question, yes=yes, changed=CHANGED)
    kept = backup.back_up(root, paths, config.state_dir)
    reload_daemon(file, before, after, state_dir=config.state_dir, timeout_s=timeout, pid=pid)
    good = _is_verified(live)
    result = {
        "switched": True,
        "verified": good,
        "root": str(root),
        "kept": str(kept),
        "schedules": [asdict(it) for it in started],
    }

    def text() -> None:
        say(f"omnicdc publishes below {root}; Omni's files are kept in {kept}", good=True)
        say(
            "the files are verified" if good else UNVERIFIED,
            good=good,
        )
        say("now: `omnicdc cutover writers --follow` shows whether an old scanner still writes")

    answer(result, output, text)
    sys.exit(YES if good else NO)


def _compared(config: Config) -> list[RegistryComparison]:
    from omnicdc.answers.cutover.comparison import compare as compare_registries

    omnis = _omnis(config)
    with compared(config) as (conn, observe):
        return compare_registries(conn, config, omnis, observe)


def _omnis(config: Config) -> Path:
    """Return the directory that has Omni's files: the root, or the copies that the last switch has kept.

    Raises ConfigError if there are only files of omnicdc's.
    """
    from omnicdc.answers.cutover.comparison import published_by_omnicdc
    from omnicdc.cli.cutover import backup
    from omnicdc.registries.catalog import registries

    root = replace(config, shadow=None).require_output_directory()
    if not published_by_omnicdc(root, registries(config)):
        return root
    try:
        return backup.newest(config.state_dir)
    except ConfigError as exc:
        raise ConfigError(
            f"the files below {root} are omnicdc's own, and {exc.message}",
            hint="`omnicdc verify --all` compares them with CMP",
        ) from exc


def _shadow(config: Config) -> Path:
    if config.shadow is None:
        raise ConfigError(
            "omnicdc has no shadow: it publishes below the root already", hint="see docs/cutover.md, step 2"
        )
    return config.shadow


def _is_verified(live: Config) -> bool:
    """Whether the files below the root are verified. An error is no refusal: the switch is done."""
    try:
        return verified(live).verified
    except OmnicdcError as exc:
        complain(str(exc))
        return False


def _warn(started: Sequence[Schedule]) -> None:
    """Name the lines that still start an old scanner. No refusal: the file may be unused."""
    for it in started[:WARNED]:
        complain(f"{it.file}:{it.line} still starts an old scanner: {it.text} - comment it out")
    if len(started) > WARNED:
        complain(f"and {len(started) - WARNED} more lines - `omnicdc cutover writers` lists them")


def _refuse_different(found: AllReport, shadow: Path) -> None:
    """Raise ConfigError with a line for each registry that differs from CMP."""
    wrong = [it for it in found.registries if not it.good]
    lines = (
        f"{shadow}: {it.registry} differs from CMP: {it.detail or it.status} - "
        + (it.hint or "`omnicdc verify --all`")
        for it in wrong
    )
    if wrong:
        raise ConfigError("\n".join(lines))


def _refuse_writers(pattern: re.Pattern[str], paths: list[Path]) -> None:
    from omnicdc.answers.cutover.writers import looking_like, writing

    if found := [*writing(paths), *looking_like(pattern)]:
        raise ConfigError(
            f"an old scanner is running: {described(found[0])}",
            hint=f"stop it, and what starts it: `omnicdc cutover writers`; `kill {found[0].pid}`",
        )


def _verdict(found: Sequence[RegistryComparison]) -> str:
    rest = sum(len(it.judgement.unexplained) for it in found)
    faults = sum(bool(it.fault) for it in found)
    if not (rest or faults):
        return "each difference has a known reason"
    lines = [f"{rest} differences have no known reason: `omnicdc explain NAME`"] if rest else []
    return "; ".join([*lines, *([f"{faults} registries cannot be compared"] if faults else [])])


def _show(it: RegistryComparison) -> None:
    from omnicdc.formats.times import to_seconds

    rest = it.judgement.unexplained
    if it.fault:
        say(f"{it.registry}: cannot be compared: {it.fault}", good=False)
        return
    say(
        f"{it.registry}: {it.entries} entries: {it.equal} equal, {it.explained} explained, {len(rest)} "
        "unexplained; "
        + (f"Omni wrote it at {to_seconds(it.written_at)}" if it.written_at else "Omni has not written it"),
        good=it.agrees,
    )
    for reason, count in it.judgement.explained.items():
        say(f"  {count:>7}: {reason}")
    for one in rest[:20]:
        _show_unexplained(one)
    if len(rest) > 20:  # noqa: PLR2004 - as in the JSON
        say(f"  and {len(rest) - 20} more", good=False)


def _show_unexplained(one: Unexplained) -> None:
    named = f"{one.name} ({one.entry_key})" if one.entry_key else f"header: {one.name}"
    say(f"  {named}: {one.kind}", good=False)
    for key, (expected, found) in one.fields.items():
        say(f"    {key}: omnicdc {expected!r}, Omni {found!r}")
