"""The answers of the client. Every answer has all its keys, even after a failure.

The keys are a contract, described in docs/client.md: keys may be added, but none is renamed or removed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

# Imported at run time, so that programs can evaluate the types of the answers.
from omnicdc.delivery.observation import InputsState  # noqa: TC001
from omnicdc.delivery.verdict import Status
from omnicdc.log.scrub import scrubbed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from omnicdc.delivery.verdict import Verdict
    from omnicdc.errors import OmnicdcError

VerdictName = Status | Literal["unavailable"]


class WaitAnswer(TypedDict):
    """How a wait ended. `verdict` is None for a dry run. `error` is None if `success` is true."""

    success: bool
    dry_run: bool
    verdict: VerdictName | None
    detail: str
    hint: str
    error: str | None
    token: str | None
    generation: int | None
    milliseconds: float | None
    registries_updated: list[str]
    consumers: list[str]
    left_out: list[str]
    inputs: InputsState | None


class ScannerResult(TypedDict):
    """The result for one scanner's registry."""

    success: bool
    rewritten: bool


class ScannerResults(TypedDict):
    """The results of the three scanners, under Genesis's names for them."""

    cmp_scan: ScannerResult
    project_registry: ScannerResult
    git_registry: ScannerResult


class ProjectAnswer(WaitAnswer):
    """The answer of `propagate_project`. `details` is empty unless it was a dry run."""

    project: str | None
    scanner_results: ScannerResults
    details: list[dict[str, Any]] | dict[str, Any]


class BatchAnswer(WaitAnswer):
    """The answer of `propagate_batch`. `details` is empty unless it was a dry run."""

    count: int
    projects: list[str]
    scanner_results: ScannerResults
    details: list[dict[str, Any]] | dict[str, Any]


class RebuildAnswer(WaitAnswer):
    """The answer of `rebuild_all_registries`.

    `results` maps each scanner to `rewritten`, `unchanged`, `held` or `unreadable`.
    """

    operation: Literal["full_rebuild"]
    scanners_run: list[str]
    results: dict[str, str]
    details: list[dict[str, Any]] | dict[str, Any]


class Checks(TypedDict):
    """Whether each registry is correct for the project."""

    in_canonical_uuids: bool
    in_project_registry: bool
    in_repo_inventory: bool


class VerifyAnswer(TypedDict):
    """The answer of `verify_propagation`."""

    verified: bool
    uuid: str
    name: str | None
    in_cmp: bool | None
    checks: Checks
    missing_from: list[str]
    not_expected: list[str]
    details: dict[str, dict[str, Any]]
    dry_run: bool
    registries_updated: list[str]
    verdict: Literal["unavailable"] | None
    detail: str
    hint: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. Each answer is built from an Outcome."""

    success: bool
    dry_run: bool = False
    verdict: VerdictName | None = None
    detail: str = ""
    hint: str = ""
    error: str | None = None
    token: str | None = None
    generation: int | None = None
    milliseconds: float | None = None
    registries_updated: Sequence[str] = ()
    consumers: Sequence[str] = ()
    left_out: Sequence[str] = ()
    inputs: InputsState | None = None
    withheld: frozenset[str] | None = None
    """The registries that do not show everything that the call was for. None if nothing is known about the
    registries."""
    results: Mapping[str, str] = field(default_factory=dict)
    details: list[dict[str, Any]] | dict[str, Any] = field(default_factory=dict)


def waited(verdict: Verdict) -> Outcome:
    """Return the outcome of a wait."""
    arrived = verdict.arrived
    return Outcome(
        success=arrived,
        verdict=verdict.status,
        detail=verdict.detail,
        hint=verdict.hint,
        error=None if arrived else f"{verdict.status}: {verdict.detail}",
        token=verdict.token,
        generation=verdict.generation,
        milliseconds=verdict.milliseconds,
        registries_updated=verdict.registries,
        consumers=verdict.consumers,
        left_out=verdict.left_out,
        inputs=verdict.inputs,
        withheld=verdict.withheld if arrived or verdict.status in ("held", "quarantined") else None,
    )


def failed(*, detail: str, hint: str, error: str, dry_run: bool) -> Outcome:
    """Return the outcome of a call that failed with an error."""
    return Outcome(
        success=False, dry_run=dry_run, verdict="unavailable", detail=detail, hint=hint, error=error
    )


def would(
    registries: Sequence[str], details: list[dict[str, Any]] | dict[str, Any], results: Mapping[str, str]
) -> Outcome:
    """Return the outcome of a dry run: which registries would be rewritten."""
    return Outcome(
        success=True,
        dry_run=True,
        registries_updated=registries,
        withheld=frozenset(),
        results=results,
        details=details,
    )


def wait_answer(it: Outcome) -> WaitAnswer:
    """Return the keys that are in every answer except VerifyAnswer."""
    return {
        "success": it.success,
        "dry_run": it.dry_run,
        "verdict": it.verdict,
        "detail": it.detail,
        "hint": it.hint,
        "error": it.error,
        "token": it.token,
        "generation": it.generation,
        "milliseconds": it.milliseconds,
        "registries_updated": list(it.registries_updated),
        "consumers": list(it.consumers),
        "left_out": list(it.left_out),
        "inputs": it.inputs,
    }


def scanner_results(it: Outcome, registries: Mapping[str, str]) -> ScannerResults:
    """Return the result for each registry. `registries` maps Genesis's name of a scanner to its file name."""
    results = {
        name: ScannerResult(
            success=it.withheld is not None and registry not in it.withheld,
            rewritten=registry in it.registries_updated,
        )
        for name, registry in registries.items()
    }
    return cast("ScannerResults", results)


def project_answer(it: Outcome, project_name: object, registries: Mapping[str, str]) -> ProjectAnswer:
    """Return the answer of `propagate_project`. `registries` is as for `scanner_results`."""
    return {
        **wait_answer(it),
        "project": project_name if isinstance(project_name, str | None) else repr(project_name),
        "scanner_results": scanner_results(it, registries),
        "details": it.details,
    }


def batch_answer(it: Outcome, names: Sequence[object], registries: Mapping[str, str]) -> BatchAnswer:
    """Return the answer of `propagate_batch`. `registries` is as for `scanner_results`."""
    return {
        **wait_answer(it),
        "count": len(names),
        "projects": [name if isinstance(name, str) else repr(name) for name in names],
        "scanner_results": scanner_results(it, registries),
        "details": it.details,
    }


def rebuilt(it: Outcome, registries: Mapping[str, str], withheld: Collection[str]) -> Outcome:
    """Return the outcome of a rebuild with its results. `registries` maps each scanner to its file name.

    `withheld` are the files that do not show the rebuild.
    """
    results = {
        scanner: "rewritten"
        if registry in it.registries_updated
        else "held"
        if registry in withheld and it.verdict == "held"
        else "unchanged"
        for scanner, registry in registries.items()
    }
    return replace(it, results=results)


def rebuild_answer(it: Outcome) -> RebuildAnswer:
    """Return the answer of a rebuild."""
    results = dict(it.results)
    return {
        **wait_answer(it),
        "operation": "full_rebuild",
        "scanners_run": list(results),
        "results": results,
        "details": it.details,
    }


def verify_answer(it: Outcome, found: Mapping[str, Any]) -> VerifyAnswer:
    """Return the answer of a verification; `found` is the report about the project."""
    return {
        "verified": found["verified"] and it.success,
        "uuid": found["uuid"],
        "name": found["name"],
        "in_cmp": found["in_cmp"],
        "checks": found["checks"],
        "missing_from": found["missing_from"],
        "not_expected": found["not_expected"],
        "details": found["details"],
        "dry_run": False,
        "registries_updated": [],
        "verdict": None if it.success else "unavailable",
        "detail": it.detail,
        "hint": it.hint,
        "error": it.error,
    }


def failed_by(exc: OmnicdcError, *, dry_run: bool) -> Outcome:
    """Return the outcome of a call that failed with `exc`. It contains no part of a password."""
    return failed(detail=scrubbed(exc.message), hint=exc.advice(), error=scrubbed(str(exc)), dry_run=dry_run)
