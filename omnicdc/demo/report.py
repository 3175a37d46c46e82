"""What the demo found: acts made of takes, each with what was seen of it, and claims that hold or do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.demo.witness import Seen


@dataclass(frozen=True, slots=True)
class Check:
    """A claim, and whether it held this time."""

    claim: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Take:
    """One transaction: what was done, and what was seen of it."""

    deed: str
    seen: Seen
    in_full: bool = True
    """Whether the differences are worth showing line by line."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as the command prints it."""
        seen = self.seen
        return {
            "deed": self.deed,
            "token": seen.token,
            "log": [
                {"rows": one.rows, "op": one.op, "fields": None if one.fields is None else list(one.fields)}
                for one in seen.noted
            ],
            "scanners": list(seen.scanners),
            "rewritten": list(seen.rewritten),
            "verdict": seen.verdict.status,
            "generation": seen.verdict.generation,
            "milliseconds": round(seen.milliseconds, 2),
            "stages_ms": dict(seen.cycle["ms"]) if seen.cycle else {},
        }


@dataclass(frozen=True, slots=True)
class Table:
    """Something to compare at a glance; every cell is safe to print."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Act:
    """A few transactions that show one thing."""

    title: str
    takes: tuple[Take, ...]
    checks: tuple[Check, ...]
    table: Table | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as the command prints it."""
        return {
            "title": self.title,
            "takes": [take.as_dict() for take in self.takes],
            "figures": dict(self.figures),
            "checks": [{"claim": check.claim, "holds": check.holds} for check in self.checks],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The whole performance."""

    postgresql: str
    projects: int
    seconds: float
    acts: tuple[Act, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Return the claims that did not hold."""
        return tuple(check.claim for act in self.acts for check in act.checks if not check.holds)

    @property
    def claims(self) -> int:
        """Return how many claims were put to the test."""
        return sum(len(act.checks) for act in self.acts)

    def as_dict(self) -> dict[str, Any]:
        """Return it as the command prints it."""
        return {
            "success": not self.failed,
            "postgresql": self.postgresql,
            "projects": self.projects,
            "seconds": round(self.seconds, 2),
            "claims": self.claims,
            "failed": list(self.failed),
            "acts": [act.as_dict() for act in self.acts],
        }


def shown(text: str, width: int) -> str:
    """Return a text in quotes, so that it cannot steer a terminal nor hide its blanks, cut to a width."""
    return cut(repr(text), width)


def cut(text: str, width: int) -> str:
    """Return the beginning of a text that is longer than `width`."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def harmless(line: str) -> str:
    """Escape what could steer a terminal; a registry may hold it as text."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)
