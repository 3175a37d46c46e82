"""Where the value of one field of an entry comes from. `omnicdc explain` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["CMP", "override", "clone", "repository", "omnicdc"]
"""`repository`: GitHub's metadata, or the adopted inventory. `omnicdc`: a fixed value, or a default."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from. A place in a file is looked up later, because a scanner knows no files."""

    kind: Kind
    what: str = ""
    """The column, `column.key`, the field, or the reason of a default."""


def of_cmp(what: str) -> Origin:
    """Return the origin of a value of CMP: a column of the main source, or a key of a json column."""
    return Origin("CMP", what)


CONSTANT = Origin("omnicdc", "always the same")
