"""Where kept generations are: the directories and the names of the files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY = "generations"
"""The directory below the state directory."""

_RECORD = re.compile(r"([0-9]{10})-([0-9]{1,19})\.json")


class RecordName(NamedTuple):
    """The name of a record. Records sort in the order in which they were written, whatever their numbers are.

    A number may be there twice, because a daemon that was killed during a publication did not count it. The
    later record counts.
    """

    sequence: int
    generation: int

    def __str__(self) -> str:
        """Return the file's name."""
        return f"{self.sequence:010}-{self.generation}.json"


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one store."""

    top: Path

    @classmethod
    def below(cls, state_dir: Path) -> Places:
        """Return the places in a state directory."""
        return cls(state_dir / DIRECTORY)

    @property
    def blocks(self) -> Path:
        """The directory of the blocks."""
        return self.top / "blocks"

    @property
    def records(self) -> Path:
        """The directory of the records."""
        return self.top / "records"

    @property
    def lock(self) -> Path:
        """The file whose lock the writing daemon holds."""
        return self.top / "lock"

    def block(self, digest: str) -> Path:
        """Return the path of a block."""
        return self.blocks / digest

    def record(self, name: RecordName) -> Path:
        """Return the path of a record."""
        return self.records / str(name)

    def record_names(self) -> list[RecordName]:
        """Return the names of all records, the oldest first. Raises OSError."""
        found = (_RECORD.fullmatch(it.name) for it in self.records.iterdir())
        return sorted(RecordName(int(it[1]), int(it[2])) for it in found if it)
