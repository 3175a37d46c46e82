"""Builds the scanners of the registries that the configuration declares. No I/O."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError
from omnicdc.formats.csv_records import Csv
from omnicdc.formats.json_records import JsonList, JsonObject, Ndjson
from omnicdc.formats.records import COUNT, TIME, RecordLayout, Shape
from omnicdc.formats.values import read_value, sortable
from omnicdc.formats.yaml_records import YamlList
from omnicdc.model import Entry
from omnicdc.registries.origin import Origin
from omnicdc.registries.query import NAMELESS, QueryFault, written_at
from omnicdc.registries.scanner import OTHERS, Row, Scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jinja2 import Template

    from omnicdc.config.declared import Declared, Text
    from omnicdc.model import Frame, Inputs
    from omnicdc.registries.query import Reads

RANK = 1000
"""Declared registries are published after the others, in the order of the configuration."""

_PLACEHOLDER = re.compile(r"\{\w+\}")

_LAYOUTS: dict[str, Callable[[Shape], RecordLayout]] = {
    "json": JsonObject,
    "json-list": JsonList,
    "ndjson": Ndjson,
    "yaml": YamlList,
    "csv": Csv,
}


class QueryScanner(Scanner):
    """The scanner of a declared registry."""

    key_column = None
    named = False
    builtin = False
    layout: RecordLayout

    def __init__(self, declared: Declared, reads: Reads, layout: RecordLayout, number: int) -> None:
        self.declared = declared
        self.name, self.path = declared.name, declared.path
        self.check = f"in_{declared.name}"
        self.format = declared.format
        self.rank = RANK + number
        self.layout = layout
        self.query = reads.template.replace("%", "%%")
        self.source, self.sources = reads.main, tuple(sorted(reads.fields))
        self.columns, self.output = reads.columns, reads.columns[0]
        self.main_column = reads.key_column or ""
        self.functions = reads.functions
        self.mode = declared.mode
        self.validator, self.hook = declared.check, declared.on_publish
        self.targeted, self.multiple = reads.targeted, True
        self._sort = [reads.columns.index(name) for name in declared.sort or reads.columns[:1]]

    def place_in_query(self, names: Mapping[str, str] | None = None, character: int = 0) -> str:
        """Return the place in the file of a character of the query; without `names`, of the query."""
        query = self.declared.query
        at = None if names is None else written_at(query.source, self.query, names, character)
        return str(query.place if at is None else query.at_character(at))

    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry | None:  # noqa: ARG002 - of CMP alone
        """Return the entry of a key; None if the template renders nothing."""
        values = [[read_value(value) for value in row[1:]] for row in rows]
        records = [dict(zip(self.columns, each, strict=True)) for each in values]
        data = self.layout.rendered(entry_key, records)
        first = min("\0".join(sortable(each[at]) for at in self._sort) for each in values)
        return Entry((first, entry_key), data) if data else None

    def origins(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Mapping[str, Origin]:  # noqa: ARG002 - of CMP alone
        """Return where each value comes from: the query in the configuration."""
        return {OTHERS: Origin("CMP", f"the query at {self.declared.query.place}")}

    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:  # noqa: ARG002 - counts entries
        """Return header and footer with the count and the time."""
        return self.layout.surround(count, stamp)


def scanner_of(declared: Declared, number: int) -> QueryScanner:
    """Return the scanner of a declared registry; `number` is its place in the list.

    Raises ConfigError, with file, line and column.
    """
    # Imported here: without declared registries nothing but the capture needs the parser.
    from omnicdc.registries.reads import analyse  # noqa: PLC0415

    try:
        reads = analyse(declared.query.source, declared.name)
    except QueryFault as exc:
        at = exc.character
        place = declared.query.place if at is None else declared.query.at_character(at)
        raise ConfigError(f"{place}: registry {declared.name}: {exc.what}") from exc
    for number_of, name in enumerate(reads.columns, 1):
        if name == NAMELESS:
            raise _fault(declared, f"column {number_of} of the query has no name: write AS and a name")
        if reads.columns.count(name) > 1:
            raise _fault(declared, f"the query returns two columns named {name}")
    for setting, names in (("entry", declared.entry), ("sort", declared.sort)):
        for name in names:
            if name not in reads.columns:
                known = ", ".join(reads.columns)
                raise _fault(declared, f"{setting} names {name}, which the query does not return ({known})")
    if reads.second_part is not None:
        place = declared.query.at_character(reads.second_part)
        raise ConfigError(
            f"{place}: registry {declared.name}: the query must not be a UNION, INTERSECT or EXCEPT: "
            "write it in a subquery"
        )
    if reads.key_column is None:
        raise ConfigError(
            f"{declared.query.place}: registry {declared.name}: the first column of the query must be a "
            f"column of {reads.main}: it is the entry's key"
        )
    return QueryScanner(declared, reads, _layout(declared, reads), number)


def _layout(declared: Declared, reads: Reads) -> RecordLayout:
    columns = reads.columns
    if declared.format == "lines":
        return _lines(declared, columns)
    shown = declared.entry or (columns[1:] if declared.format == "json" else columns)
    if not shown:
        raise _fault(declared, "the query returns nothing but the key")
    if declared.header and declared.entries is None:
        raise _fault(declared, "a header needs `entries: NAME`")
    header = dict(declared.header)
    if declared.entries in header:
        raise _fault(declared, f"header must not have the key {declared.entries}: the entries stand there")
    for name, value in header.items():
        if isinstance(value, str) and value not in (COUNT, TIME) and any(it in value for it in (COUNT, TIME)):
            raise _fault(declared, f"header: {name} must be {COUNT} or {TIME} alone, or another text")
        near = get_close_matches(str(value), (COUNT, TIME), n=1, cutoff=0.7)
        if near and value not in near and _PLACEHOLDER.fullmatch(str(value)):
            raise _fault(declared, f"header: {name} is {value}, did you mean {near[0]}?")
    return _LAYOUTS[declared.format](Shape(columns, shown, header, declared.entries))


def _lines(declared: Declared, columns: tuple[str, ...]) -> RecordLayout:
    # Imported here: the template library takes 30 ms.
    from omnicdc.formats import line_templates  # noqa: PLC0415

    def compiled(text: Text | None, names: Sequence[str]) -> Template:
        try:
            return line_templates.compiled(text.source if text else "", names)
        except line_templates.TemplateFault as exc:
            place = text.at(exc.line) if text else declared.place
            raise ConfigError(f"{place}: registry {declared.name}: the template: {exc.message}") from exc

    templates = line_templates.Templates(
        compiled(declared.entry_lines, columns),
        compiled(declared.header_lines, line_templates.HEADER_NAMES),
        compiled(declared.footer, line_templates.FOOTER_NAMES),
    )
    try:
        return line_templates.TemplateLines(Shape(columns, columns, {}), templates)
    except line_templates.TemplateFault as exc:
        raise _fault(declared, exc.message) from exc


def _fault(declared: Declared, message: str) -> ConfigError:
    return ConfigError(f"{declared.place}: registry {declared.name}: {message}")
