"""What is known of a registry's query after its analysis by `reads`. No I/O, and no parser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMELESS = "?column?"
"""PostgreSQL's name of a column that has none."""

_NAME = re.compile(r'"(?:[^"]|"")*"|\w+')


@dataclass(frozen=True, slots=True)
class Reads:
    """What a query reads."""

    main: str
    """The source whose key is the entry's key: the first table of the query."""
    key_column: str | None
    """The column of `main` that the query returns first; None if it returns something else first."""
    fields: Mapping[str, frozenset[str]]
    """Source to its columns, or `column.key` for a key of a json column."""
    targeted: bool
    """Whether the rows of some values of `key_column` can be read alone: no others depend on these."""
    columns: tuple[str, ...]
    """The names of the columns that the query returns; NAMELESS for an expression without one."""
    template: str
    """The query with `{SOURCE}` in the place of each table, for `str.format`; other braces are doubled."""
    functions: frozenset[str] = frozenset()
    """The functions that it calls, all of pg_catalog: whether they are harmless is for the server to tell."""
    second_part: int | None = None
    """The place of the second SELECT of a UNION, INTERSECT or EXCEPT, counted from 0; None for one SELECT."""


class QueryFault(ConfigError):  # noqa: N818 - as ConfigError says it
    """A query must not be like this. `character` is the place in the query, counted from 0, or None."""

    def __init__(self, name: str, what: str, character: int | None) -> None:
        at = f", at character {character}" if character is not None else ""
        super().__init__(f"scanner {name}: its query {what}{at}")
        self.what = f"the query {what}"
        self.character = character


def template(query: str, places: Mapping[int, tuple[str, bool]]) -> str:
    """Return the query with `{SOURCE}` in the place of each table, for `str.format`.

    `places` maps the position of a table's name to its source, and to whether it has an alias there. A table
    without one gets its source's name as the alias, because the other parts of the query use it.
    """
    parts, done = [], 0
    for at, (source, has_alias) in sorted(places.items()):
        written = _NAME.match(query, at)
        parts += [_literal(query[done:at]), f"{{{source}}}", "" if has_alias else f" as {quoted(source)}"]
        done = written.end() if written else at
    return "".join([*parts, _literal(query[done:])])


def written_at(query: str, template: str, names: Mapping[str, str], character: int) -> int | None:
    """Return where a character of a filled template stands in the query as it was written.

    `names` are what replaced the sources. All places are counted from 0; None for one outside the query.
    """
    filled = written = 0
    before = None
    for literal, source, *_ in Formatter().parse(template.replace("%%", "%")):
        part = literal
        if before and not query.startswith(part, written):
            added = f" as {quoted(before)}"  # see `template`
            part, filled = part.removeprefix(added), filled + len(added)
        if 0 <= character < filled + len(part):
            return written + max(0, character - filled)
        filled, written, before = filled + len(part), written + len(part), source
        if source:
            filled += len(names[source])
            if 0 <= character < filled:
                return written
            name = _NAME.match(query, written)
            written = name.end() if name else written
    return None


def sources_named(query: str) -> str:
    """Return a template as a query that names each table by its source."""
    return query.format_map(_Same()).replace("%%", "%")


def quoted(name: str) -> str:
    """Return a name as an identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


class _Same(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
