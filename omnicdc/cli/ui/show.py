"""Renders the templates. Every value is escaped: for HTML, and so that no character is invisible."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from omnicdc.cli.ui.chart import duration
from omnicdc.formats.text import escaped, shortened
from omnicdc.formats.times import to_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

LONGEST = 500
"""A longer value is cut after so many characters."""

LONGEST_TEXT = 20_000
"""As LONGEST, for texts of several lines."""

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_CODE = re.compile("`([^`]+)`")


class Show:
    """The templates, and the files that they refer to."""

    def __init__(self) -> None:
        """Load the files. Templates are compiled when they are used first."""
        directory = files("omnicdc.cli.ui") / "static"
        self.files: Mapping[str, bytes] = {
            file.name: file.read_bytes() for file in directory.iterdir() if file.name.endswith((*TYPES,))
        }
        digest = sha256(b"".join(self.files[name] for name in sorted(self.files))).hexdigest()[:12]
        self._templates = Environment(
            loader=PackageLoader("omnicdc.cli.ui"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_shown,
        )
        self._templates.filters |= {
            "coded": coded,
            "path": path,
            "time": time_tag,
            "lines": lines,
            "value": value_text,
            "sentence": sentence,
        }
        self._templates.filters["duration"] = duration
        self._templates.globals["static"] = lambda name: f"/static/{name}?v={digest}"

    def __call__(self, template: str, **values: object) -> str:
        """Return a rendered template."""
        return self._templates.get_template(template).render(**values)


def _shown(value: object) -> object:
    """Return what a template prints for a value: at most LONGEST characters, without invisible ones."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else shortened(str(value), LONGEST)


def coded(text: str) -> Markup:
    """Return a message as HTML; what stands between backticks is code that can be copied."""
    parts = _CODE.split(shortened(text, LONGEST * 4))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def path(text: str) -> Markup:
    """Return a path as HTML. A line may end after each of its slashes."""
    return Markup("/<wbr>").join(shortened(text, LONGEST).split("/"))


def time_tag(at: datetime | str | None) -> Markup:
    """Return a time as HTML, as RFC 3339 has it, in UTC and without fractions of a second."""
    if not at:
        return Markup("–")  # noqa: RUF001 - a dash stands for nothing
    try:
        text = to_seconds(at)
    except ValueError:
        return escape(shortened(str(at), LONGEST))
    return Markup('<time datetime="{0}">{0}</time>').format(text)


def sentence(text: str) -> str:
    """Return a message that begins as a sentence does. A file's name at its beginning stays as it is."""
    word = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if word.isalpha() and word.islower() else text


def lines(text: str) -> Markup:
    """Return a text of several lines, for an element that keeps them."""
    return escape(escaped(text[:LONGEST_TEXT], keep="\n"))


def value_text(value: Any) -> str:
    """Return the value of a field as text: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
