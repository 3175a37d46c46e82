"""What the checks of `omnicdc doctor` return. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Status = Literal["ok", "warn", "fail", "skipped"]
"""`skipped`: the check could not be made, and says why. Only `fail` makes the answer bad."""

ROOM = 2
"""A daemon needs so many connections: one for itself, one for its canary."""

CONFIG_FAULT = "the configuration has a fault"
REGISTRY_FAULT = "a declared registry has a fault"
NO_CONNECTION = "needs a connection to CMP"
NO_SCHEMA = "needs omnicdc's schema in CMP, which cannot be used: see `schema`"

INSTALL = "run `omnicdc install` as the table's owner"


@dataclass(frozen=True, slots=True)
class Fix:
    """A remedy that `omnicdc doctor --fix` can carry out: safe, and harmless if repeated."""

    kind: Literal["install", "directory"]
    command: str
    """What it does, as a command for a shell."""
    path: Path | None = None
    """The directory to create."""
    owner: tuple[int, int] | None = None
    """The directory's owner and group; None: those of whoever creates it."""


FIX_INSTALL = Fix("install", "omnicdc install")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw."""

    status: Status
    seen: str
    remedy: str = ""
    """What to do, with the commands between backticks; empty if there is nothing to do."""
    fix: Fix | None = None

    @classmethod
    def of_text(cls, text: str, status: Status = "fail") -> Finding:
        """Split a fault of one line, as `omnicdc status` shows it: what is wrong - what to do."""
        cause, dash, remedy = text.rpartition(" - ")
        return cls(status, cause, remedy) if dash else cls(status, text)


def ok(seen: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding("ok", seen)


def warn(seen: str, remedy: str = "") -> Finding:
    """Return something that may become a fault."""
    return Finding("warn", seen, remedy)


def fail(seen: str, remedy: str = "", fix: Fix | None = None) -> Finding:
    """Return a fault."""
    return Finding("fail", seen, remedy, fix)


class Skipped(Exception):  # noqa: N818 - it is no error
    """A check cannot be made here. The text says why, and who could make it."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the answer: a finding, and the check that it comes from."""

    group: str
    check: str
    finding: Finding

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        found = self.finding
        return {
            "group": self.group,
            "check": self.check,
            "status": found.status,
            "seen": found.seen,
            "remedy": found.remedy,
            "fix": found.fix.command if found.fix else None,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The answer of `omnicdc doctor`."""

    results: Sequence[Result]
    user: str
    """The user of the operating system that asked."""
    role: str | None
    """The database role that asked; None without a connection."""

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return not self.counts["fail"]

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many findings there are of each status."""
        found = Counter(result.finding.status for result in self.results)
        return {status: found[status] for status in get_args(Status)}

    def as_dict(self, *, problems_only: bool = False) -> dict[str, Any]:
        """Return it for JSON; with `problems_only`, without what is ok or was skipped."""
        shown = [it for it in self.results if not problems_only or it.finding.status in ("warn", "fail")]
        return {
            "healthy": self.healthy,
            "counts": dict(self.counts),
            "user": self.user,
            "role": self.role,
            "checks": [result.as_dict() for result in shown],
        }
