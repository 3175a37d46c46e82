"""Writes the man pages: one for the command and one for each subcommand, from the help that they have.

The wheel's build calls this, with nothing installed but click.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

EXIT_STATUS = """\
0: yes, done. 1: no: not verified, held, or something needs attention. 2: wrong usage or configuration, or CMP
cannot be reached. 3: not yet: the time is up, or no daemon is alive. 130: interrupted by Ctrl-C."""

FILES = (
    ("/etc/omnicdc/omnicdc.yaml", "The configuration, if neither --config nor OMNICDC_CONFIG names another."),
    ("/etc/omnicdc/cmp_password", "The password of the role that this configuration names."),
    ("/var/lib/omnicdc", "Caches and backups of the service."),
)


def pages(root: click.Group, version: str, day: date) -> dict[str, str]:
    """Return place to text of each page. The places are below a prefix such as /usr/local.

    `version` and `day` (of the build) stand at the foot of each page.
    """
    edition = f'"{day}" "{_plain(f"omnicdc {version}")}" "omnicdc"'
    with click.Context(root, info_name=root.name, **root.context_settings) as ctx:
        names = root.list_commands(ctx)
        found = {"": _root_page(ctx, root, edition)}
        for name in names:
            command = root.get_command(ctx, name)
            assert command is not None  # noqa: S101 - it is listed
            found[f"-{name}"] = _page(ctx, command, name, edition)
    return {f"share/man/man1/{root.name}{suffix}.1": text for suffix, text in found.items()}


def _root_page(ctx: click.Context, root: click.Group, edition: str) -> str:
    listed = [(f"{root.name} {name}", text) for name, text in _summaries(ctx, root).items()]
    lines = [
        *_head(str(root.name), _first_line(root), edition),
        *_section(
            "SYNOPSIS", [f".B {_plain(str(root.name))}", _plain(" ".join(root.collect_usage_pieces(ctx)))]
        ),
        *_section("DESCRIPTION", _prose(root.help or "")),
        *_section("COMMANDS", [line for term, text in listed for line in _item(term, text)]),
        *_section("OPTIONS", _options(ctx, root)),
        *_section("EXIT STATUS", _prose(EXIT_STATUS)),
        *_section("FILES", [line for term, text in FILES for line in _item(term, text)]),
        *_section("SEE ALSO", _references([f"{root.name}-{name}" for name in _summaries(ctx, root)])),
    ]
    return "\n".join(lines) + "\n"


def _page(parent: click.Context, command: click.Command, name: str, edition: str) -> str:
    title = f"{parent.info_name}-{name}"
    with click.Context(command, parent=parent, info_name=name) as ctx:
        lines = [
            *_head(title, _first_line(command), edition),
            *_section("SYNOPSIS", _synopsis(ctx, command)),
            *_section("DESCRIPTION", _prose(command.help or "")),
            *_section("OPTIONS", _options(ctx, command)),
        ]
        if isinstance(command, click.Group):
            lines += _section("COMMANDS", list(_subcommands(ctx, command)))
    lines += _section("EXIT STATUS", _prose(EXIT_STATUS))
    lines += _section("SEE ALSO", _references([str(parent.info_name)]))
    return "\n".join(lines) + "\n"


def _subcommands(ctx: click.Context, group: click.Group) -> Iterator[str]:
    """Yield the lines about each command of a group, which has no page of its own."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None  # noqa: S101 - it is listed
        with click.Context(command, parent=ctx, info_name=name) as inner:
            if isinstance(command, click.Group):
                yield from _subcommands(inner, command)
                continue
            usage = " ".join([inner.command_path, *command.collect_usage_pieces(inner)])
            yield f".SS {_plain(usage)}"
            yield from _prose(command.help or "")
            yield from _options(inner, command)


def _head(title: str, summary: str, edition: str) -> list[str]:
    return [
        f".TH {_plain(title.upper())} 1 {edition}",
        ".nh",  # a path or an option that is broken at a hyphen cannot be copied
        ".ad l",
        ".SH NAME",
        rf"{_plain(title)} \- {_plain(summary)}",
    ]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f'.SH "{title}"', *lines] if lines else []


def _synopsis(ctx: click.Context, command: click.Command) -> list[str]:
    return [f".B {_plain(ctx.command_path)}", _plain(" ".join(command.collect_usage_pieces(ctx)))]


def _options(ctx: click.Context, command: click.Command) -> list[str]:
    records = (param.get_help_record(ctx) for param in command.get_params(ctx))
    # An argument has a record, too, in some versions of click; it is explained in the text.
    return [line for record in records if record and record[1] for line in _item(*record)]


def _item(term: str, text: str) -> list[str]:
    return [".TP", rf"\fB{_plain(term)}\fR", _marked(" ".join(text.split()))]


def _references(titles: list[str]) -> list[str]:
    return [f".BR {_plain(title)} (1){',' if title != titles[-1] else ''}" for title in titles]


def _summaries(ctx: click.Context, group: click.Group) -> dict[str, str]:
    found = {name: group.get_command(ctx, name) for name in group.list_commands(ctx)}
    return {name: _first_line(command) for name, command in found.items() if command}


def _first_line(command: click.Command) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    paragraph = " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())
    return re.split(r"\.(?= |$)", paragraph)[0]


def _prose(text: str) -> list[str]:
    r"""Return the paragraphs of a help text. One that begins with \b keeps its lines, as click shows it."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        kept, _, rest = paragraph.partition("\b\n")
        if lines:
            lines.append(".PP")
        if rest:
            lines += [".nf", *(_plain(line) for line in (kept + rest).splitlines()), ".fi"]
        else:
            lines.append(_marked(" ".join(paragraph.split())))
    return lines


def _marked(text: str) -> str:
    """Return text in which what stands in backquotes is bold."""
    parts = text.split("`")
    return _guarded(
        "".join(rf"\fB{_escaped(it)}\fR" if odd % 2 else _escaped(it) for odd, it in enumerate(parts))
    )


def _plain(text: str) -> str:
    return _guarded(_escaped(text))


def _guarded(line: str) -> str:
    r"""Return a line that is no request of roff, which begins with a dot or a quote."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def _escaped(text: str) -> str:
    """Return text in which no character has a meaning for roff, in ASCII."""
    known = {"\\": r"\e", "-": r"\-", '"': r"\(dq", "^": r"\(ha", "~": r"\(ti", "`": r"\(ga", "'": r"\(aq"}
    return "".join(known.get(it) or (it if it.isascii() else rf"\[u{ord(it):04X}]") for it in text)
