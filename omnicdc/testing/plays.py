"""What a recorded client answers: the verdicts that a test plays, and the calls that it got.

It invents nothing: without a verdict to play, a call fails.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from omnicdc import verify
from omnicdc.clients import answers
from omnicdc.clients.answers import VerdictName  # noqa: TC001 - so that the types can be read at run time
from omnicdc.config.settings import Config
from omnicdc.delivery.verdict import CERTAIN, Verdict
from omnicdc.registries.scanner import Scanner
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.answers.explain.answers import Explanation
    from omnicdc.clients.answers import Outcome, VerifyAnswer

Kind = Literal["verdict", "dry run", "verification"]

HOST = "recorded"
"""The name of the registry host in the answers."""

FIRST_TOKEN = 1001

_HOW: Mapping[Kind, str] = {
    "verdict": 'play("published")',
    "dry run": 'play_dry_run("canonical_projects_uuids.json")',
    "verification": "play_verification()",
}

_TEXTS: Mapping[VerdictName, tuple[str, str]] = {
    "published": ("the registries hold it", ""),
    "nothing_to_do": ("the transaction changed no watched column", ""),
    "rolled_back": ("the transaction was rolled back: there is nothing to publish", ""),
    "held": ("the registry is held: it would lose 12 of its 20 entries at once", "`omnicdc accept`"),
    "quarantined": ("a project is held back: its name is null", "fix the project's row in CMP"),
    "no_consumer": (
        f"no omnicdc daemon is alive: {HOST} not running",
        "on the registry host: `systemctl start omnicdc`, or `omnicdc run`",
    ),
    "capture_broken": ("changes may be missed: a trigger is disabled", "`omnicdc install`"),
    "timeout": (
        f"not published after 30.0 s: {HOST} has 1 changes to publish",
        "`omnicdc status` on the registry host",
    ),
    "unavailable": ("CMP cannot be reached", ""),
}
"""Verdict to the usual detail and hint."""


class NothingToPlay(AssertionError):  # noqa: N818 - named for the state
    """A call was made, and the test has not said what to answer."""


class Call(NamedTuple):
    """One call of a method. It equals a plain tuple with the same items."""

    method: str
    arguments: dict[str, Any]
    """The arguments by name, without those that are None or False."""


class Plays:
    """The answers that are left to play, and the calls so far."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        """The calls, in order."""
        self.rolled_back: list[str] = []
        """The tokens of the `propagation` blocks that raised an exception."""
        self._queues: dict[Kind, deque[Outcome]] = {kind: deque() for kind in _HOW}
        self._always: Outcome | None = None
        self._found: deque[dict[str, Any]] = deque()
        self._explanations: deque[Explanation] = deque()
        self._last_token = FIRST_TOKEN - 1

    def play(
        self,
        *verdicts: VerdictName,
        detail: str | None = None,
        hint: str | None = None,
        registries_updated: Sequence[str] | None = None,
    ) -> None:
        """Answer the next waits with these verdicts, one for each wait, in this order.

        Waits are `wait`, `propagation`, `propagate_project`, `propagate_batch` and `rebuild_all_registries`.
        `success` follows from the verdict. `registries_updated` are the files that the answers name; by
        default all three for `published`, else none. Raises ValueError for an unknown verdict.
        """
        self._queues["verdict"] += [_outcome(it, detail, hint, registries_updated) for it in verdicts]

    def always(
        self,
        verdict: VerdictName,
        *,
        detail: str | None = None,
        hint: str | None = None,
        registries_updated: Sequence[str] | None = None,
    ) -> None:
        """Answer every wait for which `play` has left no verdict with this one."""
        self._always = _outcome(verdict, detail, hint, registries_updated)

    def play_dry_run(self, *registries_updated: str, error: str | None = None) -> None:
        """Answer the next call with `dry_run=True`: these files would be rewritten. `error`: it fails."""
        good = answers.would(registries_updated, [], _results(registries_updated))
        self._queues["dry run"].append(good if error is None else _failed(error, dry_run=True))

    def play_verification(self, *missing_from: str, in_cmp: bool = True, error: str | None = None) -> None:
        """Answer the next `verify_propagation`: these checks failed; without any, all passed.

        `in_cmp=False`: CMP has no such project, so all failed. `error`: CMP cannot be read. Raises ValueError
        for an unknown check.
        """
        checks = [it.check for it in scanners().values() if it.source == Scanner.source]
        if unknown := [name for name in missing_from if name not in checks]:
            raise ValueError(f"no such check as {unknown[0]!r}: it is one of {', '.join(checks)}")
        failed = checks if error is not None or not in_cmp else missing_from
        found = {
            "verified": not failed,
            "name": None,
            "in_cmp": None if error is not None else in_cmp,
            "checks": {name: name not in failed for name in checks},
            "missing_from": [name for name in checks if name in failed],
            "not_expected": [],
            "details": {},
        }
        self._found.append(found)
        good = answers.Outcome(success=True)
        self._queues["verification"].append(good if error is None else _failed(error, dry_run=False))

    def play_explanation(self, explanation: Explanation) -> None:
        """Answer the next `explain` with this answer, for example one that `omnicdc explain --json` gave."""
        self._explanations.append(explanation)

    def unplayed(self) -> int:
        """Return the number of answers for which no call was made."""
        return sum(map(len, self._queues.values())) + len(self._explanations)

    def assert_all_played(self) -> None:
        """Fail if an answer is left: the program did not make the call. The fixtures do this at their end."""
        left_over = [(kind, len(left)) for kind, left in self._queues.items()]
        for kind, left in [*left_over, ("explanation", len(self._explanations))]:
            if left:
                raise AssertionError(
                    f"{left} of the answers to play ({kind}) were never asked for; "
                    f"the calls were {self.calls}. For any number of waits: always(…)"
                )

    def _record(self, method: str, **arguments: object) -> None:
        given = {name: value for name, value in arguments.items() if value is not None and value is not False}
        self.calls.append(Call(method, given))

    def _next(self, kind: Kind, method: str) -> Outcome:
        queue = self._queues[kind]
        if queue:
            return queue.popleft()
        if kind == "verdict" and self._always:
            return self._always
        raise NothingToPlay(
            f"{method} was called, and there is no {kind} left to play: "
            f"call {_HOW[kind]} on the recorded client before"
        )

    def _next_explanation(self) -> Explanation:
        if not self._explanations:
            raise NothingToPlay(
                "explain was called, and there is no explanation left to play: call play_explanation(…) on "
                "the recorded client before"
            )
        return self._explanations.popleft()

    def _new_token(self) -> str:
        self._last_token += 1
        return str(self._last_token)

    def _next_verification(self, uuid: str) -> VerifyAnswer:
        it = self._next("verification", "verify_propagation")
        return answers.verify_answer(it, {**self._found.popleft(), "uuid": uuid})


def _outcome(
    verdict: VerdictName, detail: str | None, hint: str | None, registries_updated: Sequence[str] | None
) -> Outcome:
    if verdict not in _TEXTS:
        raise ValueError(f"no such verdict as {verdict!r}: it is one of {', '.join(_TEXTS)}")
    usual_detail, usual_hint = _TEXTS[verdict]
    detail, hint = usual_detail if detail is None else detail, usual_hint if hint is None else hint
    if verdict == "unavailable":
        return _failed(detail, hint, dry_run=False)
    names = tuple(verify.genesis_names().values())
    shown = verdict in ("published", "held", "quarantined")
    return answers.waited(
        Verdict(
            verdict,
            detail,
            hint,
            generation=1 if shown else None,
            milliseconds=5.0 if shown else None,
            registries=(names if verdict == "published" else ())
            if registries_updated is None
            else tuple(registries_updated),
            consumers=(HOST,) if verdict != "rolled_back" else (),
            withheld=frozenset() if verdict in CERTAIN else frozenset(names),
            inputs="current",
        )
    )


def _failed(detail: str, hint: str = "", *, dry_run: bool) -> Outcome:
    error = f"{detail} - {hint}" if hint else detail
    return answers.failed(detail=detail, hint=hint, error=error, dry_run=dry_run)


def _results(registries_updated: Sequence[str]) -> dict[str, str]:
    return {
        scanner: "rewritten" if file in registries_updated else "unchanged"
        for scanner, file in verify.registry_names(Config()).items()
    }
