"""The transactions that several writers commit, and what a registry may show of them.

All transactions follow from a seed. The status of a writer's first project is the number of its last
transaction. So a reader of a file knows what the file must show of this writer: complete transactions, never
fewer than before, and nothing that was rolled back. `support.load` has the writers and the readers.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from support.agents import TEAMS
from support.host import CANONICAL, PROJECT, REGISTRIES

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLLOWED = (*REGISTRIES, TEAMS)
"""The registries that ledgers check. The teams join the projects with the writers' agents."""

WRITERS = 8
PROJECTS = 6
"""The maximum number of projects of each writer.

The first project always exists. Every committed transaction changes it.
"""

_FIRST = "10000000-"
"""The prefix of the ids of the writers' projects. Other projects may exist, and do not change."""


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """One transaction: the projects that it writes, deletes, and writes and rolls back to a savepoint.

    `undone` means that the whole transaction is rolled back.
    """

    written: tuple[int, ...] = (0,)
    deleted: tuple[int, ...] = ()
    rolled_back: tuple[int, ...] = ()
    undone: bool = False

    @property
    def single(self) -> bool:
        """Whether the transaction is one statement in autocommit mode."""
        return self == PlannedWrite()


def planned_write(seed: str, writer: int, number: int) -> PlannedWrite:
    """Return the transaction of a writer with this number."""
    dice = random.Random(f"{seed} {writer} {number}")
    if dice.random() < 0.5:
        return PlannedWrite()
    others = dice.sample(range(1, PROJECTS), dice.randrange(1, PROJECTS))
    split = dice.randrange(len(others) + 1)
    rolled_back = dice.sample(range(PROJECTS), dice.choice([0, 0, 2]))
    return PlannedWrite((0, *others[:split]), (*others[split:],), (*rolled_back,), undone=dice.random() < 0.2)


@dataclass(frozen=True, slots=True, order=True)
class Project:
    """A writer's project as one transaction project_written it."""

    writer: int
    row: int
    number: int

    @property
    def id(self) -> str:
        """The id in CMP."""
        return f"{_FIRST}0000-4000-8000-{self.writer:04}{self.row:08}"

    @property
    def columns(self) -> dict[str, str | None]:
        """The columns in CMP. The names change their order, and some values are NULL."""
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
        """The entry in the canonical registry."""
        return {**self.columns, "source": "cmp_db"}

    @property
    def listed(self) -> dict[str, Any]:
        """The entry in the project registry."""
        it = self.columns
        return {
            "uuid": self.id, "name": it["key"] or it["name"], "display_name": it["name"],
            "github_url": it["github_url"], "local_paths": [],
            "classification": (it["type"] or "project").lower(), "status": it["status"], "origin": "cmp_db",
            "visibility": "private", "updated_at": None, "notes": None, "heart_connected": False,
            "heart_import_count": 0, "domain": it["domain"],
        }  # fmt: skip

    @property
    def team(self) -> dict[str, Any]:
        """The entry in the declared registry of teams, without its agents."""
        return {"name": self.columns["name"], "status": self.columns["status"]}

    @property
    def element(self) -> dict[str, Any] | None:
        """The element in the inventory; None without a repository."""
        url = self.columns["github_url"]
        return None if url is None else {
            "description": None, "name": url.rpartition("/")[2], "owner": {"id": "", "login": "acme"},
            "updatedAt": None, "url": url, "visibility": "unknown", "uuid": self.id, "source": "cmp",
        }  # fmt: skip


def canonical(data: bytes) -> Iterator[Project]:
    """Parse the canonical registry, and check its count, its order and its entries."""
    read = json.loads(data)
    entries = read["uuids"]
    names = [(entry["name"], project) for project, entry in entries.items()]
    assert read["count"] == len(entries), f"count {read['count']}, {len(entries)} entries"
    assert names == sorted(names), "order"
    for project, entry in entries.items():
        yield from _check_entry(project, entry["status"], entry, "entry")


def projects(data: bytes) -> Iterator[Project]:
    """Parse the project registry, and check its statistics and its entries."""
    read = yaml.load(data, yaml.CSafeLoader)
    entries, stats = read["projects"], read["stats"]
    with_repository = sum(bool(entry["github_url"]) for entry in entries)
    counted = (len(entries), with_repository, with_repository, len(entries) - with_repository)
    shown = tuple(stats[key] for key in ("total", "github", "cloud_only", "virtual"))
    assert shown == counted, f"stats {shown}, found {counted}"
    for entry in entries:
        yield from _check_entry(entry["uuid"], entry["status"], entry, "listed")


def inventory(data: bytes) -> Iterator[Project]:
    """Parse the inventory, and check its elements. Each belongs to one project."""
    for element in json.loads(data):
        yield from _check_entry(element["uuid"], element["name"].rpartition("n")[2], element, "element")


def teams(data: bytes) -> Iterator[Project]:
    """Parse the declared registry of teams, and check its count, its order and its entries."""
    read = json.loads(data)
    entries = read["teams"]
    names = [(entry["name"], project) for project, entry in entries.items()]
    assert read["count"] == len(entries), f"count {read['count']}, {len(entries)} entries"
    assert names == sorted(names), "order"
    for project, entry in entries.items():
        shown = {name: value for name, value in entry.items() if name != "agents"}
        yield from _check_entry(project, entry["status"], shown, "team")


def agents(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Parse the teams; yield the writer, the project's row and the transaction of each agent."""
    for project, entry in json.loads(data)["teams"].items():
        for name in entry["agents"] or ():
            yield int(project[-12:-8]), int(project[-8:]), int(name.removeprefix("a"))


def agent_id(writer: int) -> str:
    """Return the id of a writer's agent. Each transaction of several statements writes it."""
    return f"20000000-0000-4000-8000-{writer:012}"


def _check_entry(project: str, number: str, shown: object, kind: str) -> Iterator[Project]:
    if not project.startswith(_FIRST):
        return
    project_written = Project(int(project[-12:-8]), int(project[-8:]), int(number))
    assert shown == getattr(project_written, kind), f"{project_written} is shown as {shown}"
    yield project_written


@dataclass(slots=True)
class _Writer:
    """What a file shows of one writer. It follows the transactions and never goes back."""

    seed: str
    writer: int
    number: int = 0
    shown: dict[int, int] = field(default_factory=dict)
    """Each present project, and the transaction that project_written it."""
    agent: int = 0
    """The last transaction that wrote the agent."""

    def advance_to(self, number: int) -> None:
        """Apply all transactions up to this one."""
        assert number >= self.number, f"writer {self.writer}: {number} after {self.number}"
        while self.number < number:
            self.number += 1
            done = planned_write(self.seed, self.writer, self.number)
            if not done.undone:
                self.shown |= dict.fromkeys(done.written, self.number)
                self.shown = {row: it for row, it in self.shown.items() if row not in done.deleted}
                self.agent = self.agent if done.single else self.number


class Ledger:
    """Checks one registry file, and remembers its last state."""

    def __init__(self, seed: str, name: str) -> None:
        self._read = {CANONICAL: canonical, PROJECT: projects, TEAMS: teams}.get(name, inventory)
        self._writers = [_Writer(seed, writer) for writer in range(WRITERS)]

    def look(self, data: bytes) -> list[int]:
        """Return the last transaction of each writer that a file shows.

        Raise AssertionError if the file shows a state that CMP never had.
        """
        found: list[dict[int, int]] = [{} for _ in self._writers]
        for project in self._read(data):
            assert project.row not in found[project.writer], f"{project} is there twice"
            found[project.writer][project.row] = project.number
        for writer, shown in zip(self._writers, found, strict=True):
            writer.advance_to(shown.get(0, 0))
            expected = {
                row: number for row, number in writer.shown.items() if self._shows(writer, row, number)
            }
            assert shown == expected, (
                f"writer {writer.writer} at {writer.number}: {shown} in place of {expected}"
            )
        if self._read is teams:
            wanted = [(writer.writer, 0, writer.agent) for writer in self._writers if writer.agent]
            assert sorted(agents(data)) == wanted, f"agents {sorted(agents(data))} in place of {wanted}"
        return [writer.number for writer in self._writers]

    def _shows(self, writer: _Writer, row: int, number: int) -> bool:
        return self._read is not inventory or Project(writer.writer, row, number).element is not None


class Ledgers:
    """Checks all registries of one root."""

    def __init__(self, seed: str) -> None:
        self._ledgers = {name: Ledger(seed, name) for name in FOLLOWED}

    def look(self, files: dict[str, bytes]) -> dict[str, list[int]]:
        """Return the last transaction of each writer that each file shows. See `Ledger.look`."""
        return {name: self._ledgers[name].look(data) for name, data in files.items()}
