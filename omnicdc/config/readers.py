"""Functions that convert the text of a setting to a value: one for each kind of setting.

Each raises ValueError, which says what is expected. The caller adds the source: the flag, the variable or the
line of the file.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.formats.text import is_unicode

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = timedelta(days=3650)

_SIZES = {"": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
A_LIST = "a list expected, found one text with blanks: [PROGRAM, ARGUMENT, ...]"
"""Why a command in the configuration file is not taken. A list says where an argument ends."""

LOOPBACK = "127.0.0.1"
HIGHEST_PORT = 65535
LONGEST_NAME = 63
"""PostgreSQL cuts a longer name: the table that it finds then may be another one."""

_IDENTIFIER = r'(?:"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$]*))'
_TABLE = rf"(?:{_IDENTIFIER}\.)?{_IDENTIFIER}"
"""Compiled when it is used first: that takes ten milliseconds, and every client imports this module."""

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def text(given: str) -> str:
    """Read any text that is not blank. The text is never shown in a fault, because it may be a secret."""
    if not given.strip() or "\0" in given:
        raise ValueError("text expected, found none")
    if not is_unicode(given):
        raise ValueError("text in UTF-8 expected")
    return given


def line(given: str) -> str:
    """Read one line of text without control characters. It can be quoted in messages."""
    if any(unicodedata.category(character) == "Cc" for character in text(given)):
        raise ValueError("one line of text expected, found a control character")
    return given


def table(given: str) -> tuple[str, str]:
    """Read SOURCE=TABLE. Return the source, and the table's name; an empty one means that CMP lacks it."""
    source, assigned, name = (part.strip() for part in line(given).partition("="))
    if not assigned or not re.fullmatch(r"[a-z_][a-z0-9_]*", source):
        raise ValueError(
            "SOURCE=TABLE expected, such as projects=cmp.projects; in a file {projects: cmp.projects}"
        )
    if name:
        table_parts(name)
    return source, name


def table_parts(name: str) -> list[str]:
    """Return the parts of NAME or SCHEMA.NAME, with or without quotes, as PostgreSQL has them."""
    found = re.fullmatch(_TABLE, name)
    if not found:
        raise ValueError(f"not a table's name (NAME or SCHEMA.NAME): {name}")
    schema_quoted, schema, name_quoted, plain = found.groups()
    parts = [*filter(None, [_unquoted(schema_quoted, schema), _unquoted(name_quoted, plain)])]
    if any(len(part) > LONGEST_NAME for part in parts):
        raise ValueError(f"not a table's name (at most {LONGEST_NAME} characters): {name}")
    return parts


def _unquoted(quoted: str | None, plain: str | None) -> str | None:
    """Return the name that PostgreSQL uses: names without quotes become lower case."""
    return quoted.replace('""', '"') if quoted else plain and plain.lower()


def seconds(given: str) -> float:
    """Read a number of seconds, or a number with the unit `ms`, `s`, `m`, `h` or `d`; return seconds."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]+)?)\s*(ms|s|m|h|d|)", given.strip())
    length = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < length <= LONGEST.total_seconds():
        raise ValueError(f"a duration such as 30s, 15m, 2h or 7d expected, found {given!r}")
    return length


def span(given: str) -> timedelta:
    """Read a number with the unit `ms`, `s`, `m`, `h` or `d`. A plain 7 could mean days or seconds."""
    if re.fullmatch(r"\s*[0-9.]+\s*", given):
        raise ValueError(f"a unit is missing: {given.strip()}d or {given.strip()}s?")
    return timedelta(seconds=seconds(given))


def share(given: str) -> float:
    """Read a share: a number from 0 to 1."""
    if not re.fullmatch(r"0?\.[0-9]+|[01](?:\.0*)?", given.strip()):
        raise ValueError(f"a share from 0 to 1 expected, found {given!r}")
    return float(given)


def whole(given: str) -> int:
    """Read a whole number that is not negative."""
    if not re.fullmatch(r"[0-9]{1,18}", given.strip()):
        raise ValueError(f"a whole number expected, found {given!r}")
    return int(given)


def positive(given: str) -> int:
    """Read a whole number above zero."""
    if (number := whole(given)) == 0:
        raise ValueError("at least 1 expected, found 0")
    return number


def size(given: str) -> int:
    """Read a number of bytes, or a number with the unit `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]+)?)\s*([A-Za-z]*)", given.strip())
    units = {name.lower(): factor for name, factor in _SIZES.items()}
    if not found or found[2].lower() not in units:
        raise ValueError(f"a size such as 500MB or 1GiB expected, found {given!r}")
    return int(float(found[1]) * units[found[2].lower()])


def switch(given: str) -> bool:
    """Read a boolean: true or false, yes or no, on or off, 1 or 0."""
    word = given.strip().lower()
    if word not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ValueError(f"true or false expected, found {given!r}")
    return word in {"1", "true", "yes", "on"}


def path(given: str) -> Path:
    """Read a path. `settings.load` makes it absolute."""
    return Path(line(given))


def address(given: str) -> tuple[str, int] | None:
    """Read HOST:PORT, [IPV6]:PORT, or a port of the loopback address; `off` is None. Port 0: any free one."""
    word = line(given).strip()
    if word.lower() == "off":
        return None
    found = host_and_port(word)
    if found is None:
        raise ValueError(f"HOST:PORT, [IPV6]:PORT, PORT or off expected, found {given!r}")
    host, port = found
    return host or LOOPBACK, port


def host_and_port(word: str) -> tuple[str, int] | None:
    """Return the parts of HOST:PORT, [IPV6]:PORT or PORT, with an empty host for the last; else None."""
    found = re.fullmatch(r"(?:(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]]+)):)?([0-9]{1,5})", word)
    if found is None or int(found[3]) > HIGHEST_PORT:
        return None
    return found[1] or found[2] or "", int(found[3])


def textfile(given: str) -> Path:
    """Read the path of a file that node_exporter reads: it ignores files with another suffix than .prom."""
    found = path(given)
    if found.suffix != ".prom":
        raise ValueError(f"a file whose name ends in .prom expected, found {given!r}")
    return found


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a function that reads one of `choices`. Upper and lower case are equal."""

    def choice(given: str) -> str:
        word = given.strip().lower()
        if word not in choices:
            raise ValueError(f"{' or '.join(choices)} expected, found {given!r}")
        return word

    return choice
