"""The client that checks whether CMP, the registries and the files of a host agree, and repairs some."""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypedDict

from omnicdc.clients import answers
from omnicdc.clients.migration import MigrationClient
from omnicdc.clients.validation import delivery, files, identity
from omnicdc.clients.validation.findings import KINDS, Finding
from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.registries.gc_pause import without_garbage_collection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Unpack

    from omnicdc.clients.answers import WaitAnswer
    from omnicdc.clients.options import ClientOptions, Progress
    from omnicdc.clients.validation.context import Context

STATUSES = ("active", "snapshot", "archived")
TYPES = ("PROJECT", "REPO", "tool")


class ValidationAnswer(TypedDict):
    """The answer of `check`. `success` is true if there is no finding that is worse than `info`."""

    success: bool
    error: str | None
    detail: str
    hint: str
    findings: list[Finding]
    counts: dict[str, int]
    checked: list[str]
    not_checked: list[str]


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Context], Iterator[Finding]], bool], ...] = (
    (("capture",), delivery.capture, False),
    (("held",), delivery.held, False),
    (("quarantine",), delivery.quarantine, False),
    (("drift",), delivery.drift, True),
    (("fault",), delivery.faults, False),
    (("duplicate_name", "duplicate_key", "duplicate_url"), identity.duplicates, False),
    (("bad_url", "foreign_url"), identity.urls, False),
    (("shared_id", "placeholder_id"), identity.ids, False),
    (("unknown_status", "unknown_type"), identity.vocabulary, False),
    (("registry_differs",), files.registries, True),
    (("registries_disagree",), files.disagreements, True),
    (("missing_path",), files.paths, True),
    (("useless_entry",), files.people, True),
    (("unused_repository", "gone_repository", "unlisted_repository"), files.inventory, True),
    (("manifest_differs",), files.manifests, True),
)
"""Kinds to the check that finds them, and whether it needs the files of a registry host."""


class ValidationClient(MigrationClient):
    """Checks and repairs. `check` needs what omnicdc_client may read; a repair in CMP needs UPDATE there."""

    def __init__(
        self,
        dsn: str | None = None,
        *,
        statuses: Iterable[str] = STATUSES,
        types: Iterable[str] = TYPES,
        **options: Unpack[ClientOptions],
    ) -> None:
        """As for every client: see `Client`. `statuses` and `types` are the values that CMP may have."""
        super().__init__(dsn, **options)
        self._statuses, self._types = tuple(statuses), tuple(types)

    def check(
        self,
        kinds: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> ValidationAnswer:
        """Return the findings of these kinds, by default of all. See `findings.KINDS`.

        On another computer than a registry host, the kinds that need its files are in `not_checked`. Nothing
        is written; a repeat checks again. `timeout` is in seconds; without it, only the server limits the
        time. An error is an answer with `success: False`.
        """
        from omnicdc.clients.validation.reading import read_context  # noqa: PLC0415 - it imports the registries

        try:
            wanted = _known(kinds)
            with self._connected(timeout) as conn:
                context = read_context(
                    conn,
                    self._config,
                    statuses=self._statuses,
                    types=self._types,
                    progress=progress or self._progress,
                )
        except OmnicdcError as exc:
            it = answers.failed_by(exc, dry_run=True)
            return _answer([], [], [], error=it.error, detail=it.detail, hint=it.hint)
        possible = [check for check in _CHECKS if context.files is not None or not check[2]]
        here = {kind for check in possible for kind in check[0]}
        with without_garbage_collection():
            found = [
                it
                for kinds_of, check, _ in possible
                if wanted & {*kinds_of}
                for it in check(context)
                if it["kind"] in wanted
            ]
        return _answer(found, sorted(wanted & here), sorted(wanted - here))

    def repair(self, found: Finding, *, dry_run: bool = False, timeout: float | None = None) -> WaitAnswer:
        """Repair one finding, and wait until that has arrived. A repeat is harmless.

        A registry that differs is scanned and published afresh; a URL with blanks is written without them.
        Everything else needs people: then `success` is false, and `hint` is the remedy. With `dry_run`,
        nothing is changed, and `registries_updated` names the files that would be.
        """
        if not found.get("repairable"):
            refused = answers.failed(
                detail=f"{found.get('kind')}: only people can repair this",
                hint=str(found.get("remedy", "")),
                error=f"{found.get('detail')}: only people can repair this",
                dry_run=dry_run,
            )
            return answers.wait_answer(refused)
        if found["kind"] == "bad_url":
            change = {"uuid": found["project"], "set": {"metadata_.github_url": found["expected"]}}
            plan = self.plan([change])
            if not plan["success"]:
                error = plan["error"] or ""
                return answers.wait_answer(
                    answers.failed(detail=plan["detail"], hint=plan["hint"], error=error, dry_run=dry_run)
                )
            return self.apply(plan, dry_run=dry_run, timeout=timeout)
        it = self._as_outcome(
            lambda: self._would_change(None, timeout) if dry_run else self._rebuild(timeout, None),
            dry_run=dry_run,
        )
        return answers.wait_answer(it)


def _known(kinds: Iterable[str] | None) -> set[str]:
    wanted = {*KINDS} if kinds is None else {kinds} if isinstance(kinds, str) else {*kinds}
    if unknown := sorted(wanted - {*KINDS}):
        given = str(unknown[0])
        near = [kind for kind in KINDS if given and given in kind] or get_close_matches(given, KINDS, n=1)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use {', '.join(KINDS)}"
        raise ConfigError(f"no kind of finding is named {unknown[0]!r:.50}", hint=hint)
    return wanted


def _answer(
    found: list[Finding],
    checked: list[str],
    not_checked: list[str],
    *,
    error: str | None = None,
    detail: str = "",
    hint: str = "",
) -> ValidationAnswer:
    return {
        "success": error is None and all(it["severity"] == "info" for it in found),
        "error": error,
        "detail": detail,
        "hint": hint,
        "findings": found,
        "counts": dict(Counter(it["kind"] for it in found)),
        "checked": checked,
        "not_checked": not_checked,
    }
