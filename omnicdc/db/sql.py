"""Reads the SQL that omnicdc sends (queries.sql) and installs (sql/) from its files. It runs none of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql as pgsql

if TYPE_CHECKING:
    from typing import LiteralString

_HERE = Path(__file__).parent
_NAMED = re.compile(r"^-- (\w+): .*\n", re.MULTILINE)
_DEFINED = re.compile(r"create or replace function omnicdc\.(\w+)\s*\(([^)]*)\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Script:
    """One file of sql/."""

    name: str
    text: LiteralString


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of sql/migrations."""

    number: int
    script: Script
    additive: bool = False
    """Whether programs that do not know it go on as before. It is recorded in omnicdc.addition then."""


@cache
def _queries() -> dict[str, str]:
    parts = _NAMED.split((_HERE / "queries.sql").read_text("utf-8"))
    return {name: body.strip().removesuffix(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def query(name: str) -> LiteralString:
    """Return a statement of queries.sql by its name."""
    return _queries()[name]


def _installed() -> Path:
    packaged = _HERE.parent / "_sql"
    return packaged if packaged.is_dir() else _HERE.parents[1] / "sql"


def _script(path: Path) -> Script:
    return Script(path.name, path.read_text("utf-8"))


def roles() -> Script:
    """Roles and schema; harmless when they exist."""
    return _script(_installed() / "roles.sql")


def publications() -> Script:
    """Refuse to go on where a publication would carry omnicdc's tables unasked; writes nothing."""
    return _script(_installed() / "publications.sql")


def migrations() -> list[Migration]:
    """Return the numbered files in order; each is applied once."""
    paths = sorted((_installed() / "migrations").glob("*.sql"))
    return [
        Migration(int(path.name.split("_")[0]), _script(path), path.name.endswith(".additive.sql"))
        for path in paths
    ]


def version() -> int:
    """Return the number of the newest migration that every program must know.

    A program and a schema fit if they agree on it.
    """
    return max(migration.number for migration in migrations() if not migration.additive)


def revision() -> int:
    """Return the number of the newest migration, additive or not."""
    return max(migration.number for migration in migrations())


def functions() -> list[Script]:
    """Return the functions, in the order of their files, for one in SQL must come after those that it calls.

    Each install replaces them.
    """
    return [_script(path) for path in sorted((_installed() / "functions").glob("*.sql"))]


def signatures() -> list[str]:
    """Return omnicdc's functions as NAME(TYPE,...), but for those that are written for each source."""
    found = (it for script in functions() for it in _DEFINED.finditer(script.text))
    return ["log_row_0()", *(f"{it[1]}({_types(it[2])})" for it in found)]


def _types(parameters: str) -> str:
    """Return the types of a function's parameters.

    Each is NAME TYPE [default VALUE], those that it returns are left out.
    """
    named = (re.split(r"\sdefault\s|:?=", one)[0].split() for one in parameters.split(",") if one.strip())
    return ",".join(" ".join(words[1:]) for words in named if words[0] != "out")


def grants() -> Script:
    """Rights on omnicdc's tables; renewed at every install."""
    return _script(_installed() / "grants.sql")


def policies() -> Script:
    """Row policies of omnicdc's tables; created where they are lacking."""
    return _script(_installed() / "policies.sql")


def executes() -> tuple[Script, Script]:
    """Rights on functions of PostgreSQL's own, granted where they are lacking.

    What the owner runs, then what the installer runs.
    """
    return _script(_installed() / "functions/lacking_functions.sql"), _script(_installed() / "executes.sql")


def foreign() -> pgsql.Composed:
    """Refuse if there is anything in the schema that is not omnicdc's."""
    text = _script(_installed() / "foreign.sql").text
    return pgsql.SQL(text).format(known=pgsql.Literal(signatures()))


def uninstall() -> Script:
    """Remove everything but the roles; harmless when nothing is there."""
    return _script(_installed() / "uninstall.sql")
