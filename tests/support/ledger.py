"""What several writers write, one transaction after the other, and what a registry may show of it.

All of it follows from a seed. The status of each writer's first project is the number of its last
transaction, so that whoever reads a file knows what it must hold of the writer's others: whole transactions,
no fewer than it held before, and nothing that was undone. `crowd` has the writers, and the readers as
programs.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from support.host import CANONICAL, PROJECT, REGISTRIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WRITERS = 8
PROJECTS = 6
"""Of each writer, at most.

The first is always there, and changes with every transaction that is not undone.
"""

_FIRST = "10000000-"
"""Begins the ids of the writers' projects; there may be others, which nobody changes."""


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """One transaction.

    What it writes and deletes, what it rolls back to a savepoint, and whether all of it is undone.
    """

    written: tuple[int, ...] = (0,)
    deleted: tuple[int, ...] = ()
    spoilt: tuple[int, ...] = ()
    undone: bool = False

    @property
    def single(self) -> bool:
        """Whether it is one statement by itself."""
        return self == PlannedWrite()


def deed(seed: str, writer: int, number: int) -> PlannedWrite:
    """Return what a writer's transaction of this number does."""
    dice = random.Random(f"{seed} {writer} {number}")
    if dice.random() < 0.5:
        return PlannedWrite()
    others = dice.sample(range(1, PROJECTS), dice.randrange(1, PROJECTS))
    parted = dice.randrange(len(others) + 1)
    spoilt = dice.sample(range(PROJECTS), dice.choice([0, 0, 2]))
    return PlannedWrite((0, *others[:parted]), (*others[parted:],), (*spoilt,), undone=dice.random() < 0.2)


@dataclass(frozen=True, slots=True, order=True)
class Project:
    """A writer's project as one transaction wrote it."""

    writer: int
    row: int
    number: int

    @property
    def id(self) -> str:
        """Its id in CMP."""
        return f"{_FIRST}0000-4000-8000-{self.writer:04}{self.row:08}"

    @property
    def columns(self) -> dict[str, str | None]:
        """What CMP holds of it: another order of names, and now and then a NULL."""
        writer, row, number = self.writer, self.row, self.number
        at = f"w{writer}r{row}n{number}"
        return {
            "name": f"{'zyxäb'[number % 5]} {at}",
            "type": ("SERVICE", "LIBRARY", None)[number % 3],
            "key": None if number % 7 == 0 else f"key-{at}",
            "github_url": None if row and number % 4 == 0 else f"https://github.com/acme/{at}",
            "domain": None if number % 2 else f"d{writer}",
            "status": f"{number}",
        }

    @property
    def entry(self) -> dict[str, Any]:
        """What the canonical registry shows."""
        return {**self.columns, "source": "cmp_db"}

    @property
    def listed(self) -> dict[str, Any]:
        """What the project registry shows."""
        it = self.columns
        return {
            "uuid": self.id, "name": it["key"] or it["name"], "display_name": it["name"],
            "github_url": it["github_url"], "local_paths": [],
            "classification": (it["type"] or "project").lower(), "status": it["status"], "origin": "cmp_db",
            "visibility": "private", "updated_at": None, "notes": None, "heart_connected": False,
            "heart_import_count": 0, "domain": it["domain"],
        }  # fmt: skip

    @property
    def element(self) -> dict[str, Any] | None:
        """What the inventory shows: nothing without a repository."""
        url = self.columns["github_url"]
        return None if url is None else {
            "description": None, "name": url.rpartition("/")[2], "owner": {"id": "", "login": "acme"},
            "updatedAt": None, "url": url, "visibility": "unknown", "uuid": self.id, "source": "cmp",
        }  # fmt: skip


def canonical(data: bytes) -> Iterator[Project]:
    """Parse the canonical registry, its count and its order; the entries must be those of transactions."""
    read = json.loads(data)
    entries = read["uuids"]
    names = [(entry["name"], project) for project, entry in entries.items()]
    assert read["count"] == len(entries), f"count {read['count']}, {len(entries)} entries"
    assert names == sorted(names), "order"
    for project, entry in entries.items():
        yield from _known(project, entry["status"], entry, "entry")


def projects(data: bytes) -> Iterator[Project]:
    """Parse the project registry and its counters."""
    read = yaml.load(data, yaml.CSafeLoader)
    entries, stats = read["projects"], read["stats"]
    with_repository = sum(bool(entry["github_url"]) for entry in entries)
    counted = (len(entries), with_repository, with_repository, len(entries) - with_repository)
    told = tuple(stats[key] for key in ("total", "github", "cloud_only", "virtual"))
    assert told == counted, f"stats {told}, found {counted}"
    for entry in entries:
        yield from _known(entry["uuid"], entry["status"], entry, "listed")


def inventory(data: bytes) -> Iterator[Project]:
    """Parse the inventory, each of whose elements belongs to one project."""
    for element in json.loads(data):
        yield from _known(element["uuid"], element["name"].rpartition("n")[2], element, "element")


def _known(project: str, number: str, shown: object, kind: str) -> Iterator[Project]:
    if not project.startswith(_FIRST):
        return
    wrote = Project(int(project[-12:-8]), int(project[-8:]), int(number))
    assert shown == getattr(wrote, kind), f"{wrote} is shown as {shown}"
    yield wrote


@dataclass(slots=True)
class _Writer:
    """What a file shows of one writer, from transaction to transaction; never back."""

    seed: str
    writer: int
    number: int = 0
    shown: dict[int, int] = field(default_factory=dict)
    """Each project that is there, and the transaction that wrote it."""

    def go_on_to(self, number: int) -> None:
        """Do what was committed up to this transaction."""
        assert number >= self.number, f"writer {self.writer}: {number} after {self.number}"
        while self.number < number:
            self.number += 1
            done = deed(self.seed, self.writer, self.number)
            if not done.undone:
                self.shown |= dict.fromkeys(done.written, self.number)
                self.shown = {row: it for row, it in self.shown.items() if row not in done.deleted}


class Ledger:
    """Knows one registry file as it was last seen."""

    def __init__(self, seed: str, name: str) -> None:
        self._read = {CANONICAL: canonical, PROJECT: projects}.get(name, inventory)
        self._writers = [_Writer(seed, writer) for writer in range(WRITERS)]

    def look(self, data: bytes) -> list[int]:
        """Return each writer's last transaction in a file.

        AssertionError says what no snapshot of CMP could show.
        """
        found: list[dict[int, int]] = [{} for _ in self._writers]
        for project in self._read(data):
            assert project.row not in found[project.writer], f"{project} is there twice"
            found[project.writer][project.row] = project.number
        for writer, shown in zip(self._writers, found, strict=True):
            writer.go_on_to(shown.get(0, 0))
            expected = {
                row: number for row, number in writer.shown.items() if self._shows(writer, row, number)
            }
            assert shown == expected, (
                f"writer {writer.writer} at {writer.number}: {shown} in place of {expected}"
            )
        return [writer.number for writer in self._writers]

    def _shows(self, writer: _Writer, row: int, number: int) -> bool:
        return self._read is not inventory or Project(writer.writer, row, number).element is not None


class Ledgers:
    """Knows all registries of one root."""

    def __init__(self, seed: str) -> None:
        self._ledgers = {name: Ledger(seed, name) for name in REGISTRIES}

    def look(self, files: dict[str, bytes]) -> list[int]:
        """Return each writer's last transaction that every file shows; as `Ledger.look`."""
        return lowest(self._ledgers[name].look(data) for name, data in files.items())


def lowest(numbers: Iterable[Sequence[int]]) -> list[int]:
    """Return the lowest of each writer."""
    return [min(of_writer) for of_writer in zip(*numbers, strict=True)]
