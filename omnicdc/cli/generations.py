"""Commands that read kept generations: show, diff, restore. They need no database for what is kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import completion, options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.layout import folded
from omnicdc.cli.log_text import when
from omnicdc.cli.output import answer, answer_width, flushed_stdout, say, show_diff, table
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.answers.kept.comparison import RegistryComparison
    from omnicdc.answers.kept.version import KeptVersion
    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config


@click.command(cls=Answering)
@options.registries
@click.argument(
    "generation",
    metavar="[GENERATION[:REGISTRY]]",
    default="@",
    shell_complete=completion.registries_of_generation,
)
@options.output
def show(*, generation: str, output: Output, **given: Any) -> None:
    """Show a generation that this host keeps: when it was published, its registries, where the time went.

    GENERATION is a number, @ for the newest, or @~2 for two before it. With :REGISTRY the command prints that
    file as it was.

    \b
    omnicdc show @
    omnicdc show 41:PROJECT_REGISTRY_V1.yaml > before.yaml
    """
    from omnicdc.answers.kept.generation import describe
    from omnicdc.answers.kept.reference import split
    from omnicdc.answers.kept.version import kept_version

    config, named = options.load(given), split(generation)
    if ":" in generation:
        _print_file(config, kept_version(config, named.generation), named.registry)
        return
    found = describe(config, named.generation)
    answer(found, output, lambda: _show(found))


@click.command(cls=Answering)
@options.registries
@click.argument("before", metavar="GEN1")
@click.argument("after", metavar="[GEN2]", default="files")
@click.argument("registries", metavar="[REGISTRY]...", nargs=-1, shell_complete=completion.registries)
@click.option("--stat", is_flag=True, help="Show only how many entries differ.")
@click.option("--name-only", is_flag=True, help="Show only the names of the registries that differ.")
@options.text_output
def diff(
    *,
    before: str,
    after: str,
    registries: tuple[str, ...],
    stat: bool,
    name_only: bool,
    output: Output,
    **given: Any,
) -> None:
    """Compare two generations entry by entry, or a generation with the files on disk.

    GEN1 and GEN2 are numbers, @ for the newest, @~2 for two before it, or `files` for what is on disk now
    (the default of GEN2). The time `generated_at` is ignored. On a pipe the answer is a diff as well; -o json
    lists the entries.

    Exit status 0 if they are equal, 1 if they differ.

    \b
    omnicdc diff @~1 @
    omnicdc diff 41 files PROJECT_REGISTRY_V1.yaml
    """
    from omnicdc.answers.kept.comparison import compare
    from omnicdc.answers.kept.version import version

    if stat and name_only:
        raise click.UsageError("--stat and --name-only exclude each other")
    config = options.load(given)
    sides = version(config, before), version(config, after)
    found = compare(config, *sides, registries)
    titles = sides[0].title, sides[1].title
    result = {
        "equal": not found,
        "before": titles[0],
        "after": titles[1],
        "registries": [it.as_dict(entries=not (stat or name_only)) for it in found],
    }

    def text() -> None:
        if name_only:
            for it in found:
                say(it.difference.name)
        elif stat:
            _show_counts(found)
        else:
            _show_diff(found, titles)

    answer(result, output, text)
    sys.exit(NO if found else YES)


@click.command(cls=Answering)
@options.registries
@click.argument("generation", metavar="GENERATION")
@click.argument("registries", metavar="[REGISTRY]...", nargs=-1, shell_complete=completion.registries)
@click.option(
    "--to",
    "directory",
    metavar="DIR",
    required=True,
    shell_complete=completion.directories,
    help="The directory to write into.",
)
@options.output
def restore(
    *, generation: str, registries: tuple[str, ...], directory: str, output: Output, **given: Any
) -> None:
    """Write the files of a generation into a directory, as they were: all registries, or those named.

    GENERATION is a number, @ for the newest, or @~2 for two before it. The command never writes where a
    daemon writes: registries show what CMP holds. To change what they show, change CMP.

    \b
    omnicdc restore 41 --to /tmp/before
    """
    from pathlib import Path

    from omnicdc.answers.kept.restoration import restore as write_files
    from omnicdc.answers.kept.version import kept_version

    config = options.load(given)
    version = kept_version(config, generation)
    result = write_files(config, version, Path(directory).absolute(), registries)

    def text() -> None:
        say(f"restored from generation {result['generation']}:", good=True)
        for it in result["registries"]:
            say(f"  {it['path']}")

    answer(result, output, text)


def _print_file(config: Config, version: KeptVersion, registry: str) -> None:
    from omnicdc.answers.kept.reference import path_of
    from omnicdc.registries.catalog import registries

    if not registry:
        raise ConfigError("a registry is missing after the colon", hint="`omnicdc show GENERATION:REGISTRY`")
    scanners = {name: scanner.path for name, scanner in registries(config).items()}
    parts = version.data(path_of(registry, version.files, scanners))
    with flushed_stdout():
        for _, data in parts:
            sys.stdout.buffer.write(data)


def _show(found: dict[str, Any]) -> None:
    kept = found["kept"]
    say(f"generation {found['generation']}, published {when(found['published_at'].isoformat())}")
    for name in ("consumer", "root", "snapshot", "changes"):
        if found[name] is not None:
            say(f"  {name:<10}{found[name]}")
    for registry, why in found["held"].items():
        say(f"  held: {registry}" + (f": {why}" if why else ""), good=False)
    for registry, number in found["quarantined"].items():
        say(f"  in quarantine: {number} of {registry}", good=False)
    for registry in found["left_out"]:
        say(f"  not kept: {registry}: its file on disk was not the published one", good=False)
    stages = ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in found["stages_ms"].items())
    for line in folded(f"  stages    {stages}", answer_width(), hanging=10) if stages else ():
        say(line, fold=False)
    say("")
    if kept is None:
        say(f"rewritten: {', '.join(found['rewritten']) or 'nothing'}")
        say("its files are not kept here: this is what the history in the database says")
        return
    table(
        ["registry", "entries", "bytes", "rewritten"],
        [
            (it["name"], it["count"], f"{it['size']:,}", "yes" if it["rewritten"] else "")
            for it in found["registries"]
        ],
    )
    say("")
    say(f"kept: {kept['generations']} generations, {kept['oldest']} to {kept['newest']}")


def _show_counts(found: Sequence[RegistryComparison]) -> None:
    rows = [(it.difference.name, *it.counts.values()) for it in found if not it.difference.fault]
    if rows:
        table(["registry", "changed", "added", "removed"], rows)
    for it in found:
        if it.difference.fault:
            say(f"{it.difference.name}: {it.difference.fault.reason}")


def _show_diff(found: Sequence[RegistryComparison], titles: tuple[str, str]) -> None:
    from omnicdc.verify.difference import unified

    for it in found:
        show_diff(unified(it.difference, None, titles, longest=sys.maxsize))
