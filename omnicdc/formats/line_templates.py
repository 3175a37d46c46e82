"""Format `lines` of declared registries: a Jinja2 template renders each record to lines of text. No I/O.

The templates run in Jinja2's sandbox. A value that has a line break or another control character is refused,
unless a filter such as `json` has escaped it: a project's name must not add a line to a file.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from omnicdc.errors import ConfigError
from omnicdc.formats.item import Item
from omnicdc.formats.records import STAMP, LineLayout, Shape
from omnicdc.formats.values import as_escaped_json, as_text
from omnicdc.model import Frame

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from omnicdc.formats.values import Record

HEADER_NAMES = ("count", "generated_at")
"""What a template of the header may use: the number of entries, and the time."""

FOOTER_NAMES = ("count",)

_TIMES = ("2001-02-03T04:05:06.070809+00:00", "2002-03-04T05:06:07.080900+00:00")
"""Two examples of a time, to try a template with."""


_FAULTS = (TemplateError, ArithmeticError, LookupError, TypeError, AttributeError, ValueError)
"""What the rendering of a template may raise."""


class TemplateFault(ConfigError):  # noqa: N818 - as ConfigError says it
    """A template cannot be used. `line` is its line within the template, counted from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def compiled(source: str, names: Collection[str]) -> Template:
    """Compile a template that may use these names. Raises TemplateFault."""
    try:
        tree = _ENVIRONMENT.parse(source)
        for other in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            raise TemplateFault("it must not use other templates", other.lineno)
        unknown = meta.find_undeclared_variables(tree) - {*names, *_ENVIRONMENT.globals}
        for name in tree.find_all(nodes.Name):
            if name.name in unknown:
                raise TemplateFault(f"there is no {name.name}; there are {', '.join(names)}", name.lineno)
        return _ENVIRONMENT.from_string(source)
    except TemplateSyntaxError as exc:
        raise TemplateFault(exc.message or "it does not parse", exc.lineno) from exc
    except ValueError as exc:
        raise TemplateFault(str(exc), 1) from exc


@dataclass(frozen=True, slots=True)
class Templates:
    """The templates of a registry."""

    entry: Template
    header: Template
    footer: Template


class TemplateLines(LineLayout):
    """Lines of text. An entry can be recognised only by its whole text."""

    def __init__(self, shape: Shape, templates: Templates) -> None:
        super().__init__(shape)
        self._templates = templates
        self._head, self._foot = self._lengths(0)
        self._check_frame()

    def rendered(self, entry_key: str, records: Sequence[Record]) -> bytes:  # noqa: ARG002 - the template shows it
        """Return the lines of an entry, in a fixed order; none where the template renders nothing.

        Raises ValueError for a record that the template cannot render.
        """
        return b"".join(sorted(self._lines(record) for record in records))

    def surround(self, count: int, stamp: str) -> Frame:
        """Return the rendered header and footer."""
        return Frame(*self._frame_parts(count, stamp))

    def head(self) -> int:
        """Return the number of lines of the header."""
        return self._head

    def foot(self) -> int:
        """Return the number of lines of the footer."""
        return self._foot

    def item(self, core: bytes) -> Item:
        """Return a line as an item. Raises ValueError for a line that is not UTF-8."""
        line = core.decode()
        return Item(line, (), {"line": line}, identified=False)

    def core_of(self, item: Item) -> bytes:
        """Return the line."""
        return item.entry_key.encode()

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return the lines of header and footer, without the time."""
        found = {name: str(text) for name, text in super().header(parsed).items()}
        return {name: text.replace(self.stamp(text.encode()), "") for name, text in found.items()}

    def stamp(self, head: bytes) -> str:
        """Return the time in the header; empty if it shows none."""
        header = b"\n".join(head.split(b"\n")[: self._head])
        found = re.search(STAMP, header)
        return found[0].decode() if found else ""

    def _lengths(self, count: int) -> tuple[int, int]:
        header, footer = self._frame_parts(count, _TIMES[0])
        return len(self.lines(header)), len(self.lines(footer))

    def _check_frame(self) -> None:
        """Raise TemplateFault for a header or footer in which a reader would not find what it looks for."""
        one, other = _TIMES
        first, second = (self._frame_parts(1, time)[0] for time in _TIMES)
        if first.replace(one.encode(), other.encode()) != second:
            raise TemplateFault("the header must show generated_at as it is", 1)
        if any(self._lengths(count) != (self._head, self._foot) for count in (1, 2, 1000)):
            raise TemplateFault("header and footer must have the same number of lines for each count", 1)

    def _lines(self, record: Record) -> bytes:
        try:
            text = self._templates.entry.render(record).strip("\n")
        except _FAULTS as exc:
            raise ValueError(f"the template cannot render it: {exc}") from exc
        return f"{text}\n".encode() if text else b""

    def _frame_parts(self, count: int, stamp: str) -> tuple[bytes, bytes]:
        facts = dict(zip(HEADER_NAMES, (count, stamp), strict=True))
        try:
            header, footer = (
                part.render(facts).strip("\n") for part in (self._templates.header, self._templates.footer)
            )
        except _FAULTS as exc:
            raise TemplateFault(f"header or footer cannot be rendered: {exc}", 1) from exc
        return f"{header}\n".encode() if header else b"", f"{footer}\n".encode() if footer else b""


def _shown(value: object) -> str:
    """Return an expression's value as text. Raises ValueError if it has a control character."""
    text = as_text(value)
    for character in text:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
            is_break = character in "\n\r\x85\u2028\u2029"
            what = "a line break" if is_break else f"the control character {character!a}"
            raise ValueError(f"a value has {what}, and no filter escapes it: such as `json`")
    return text


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals = {"range": environment.globals["range"]}
    environment.filters["json"] = as_escaped_json
    # A file must be the same whenever it is rendered.
    del environment.filters["random"]
    return environment


_ENVIRONMENT = _environment()
