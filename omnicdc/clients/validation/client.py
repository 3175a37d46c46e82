"""The client that checks whether CMP, the registries and the files of a host agree, and repairs some."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypedDict

from omnicdc import db
from omnicdc.clients import answers
from omnicdc.clients.migration import MigrationClient
from omnicdc.clients.validation import delivery, files, identity
from omnicdc.clients.validation.findings import KINDS, Finding
from omnicdc.clients.validation.reading import read_context
from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.filesystem.atomic import no_observer
from omnicdc.registries.gc_pause import without_garbage_collection

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from omnicdc.clients.answers import WaitAnswer
    from omnicdc.clients.validation.context import Context
    from omnicdc.config.settings import Config

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
        root: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
        all_hosts: bool = False,
        config: Config | None = None,
        statuses: Iterable[str] = STATUSES,
        types: Iterable[str] = TYPES,
    ) -> None:
        """As for every client. `statuses` and `types` are the values that CMP may have."""
        super().__init__(dsn, root=root, timeout=timeout, all_hosts=all_hosts, config=config)
        self._statuses, self._types = tuple(statuses), tuple(types)

    def check(
        self, kinds: Iterable[str] | None = None, *, progress: Callable[[str], None] = no_observer
    ) -> ValidationAnswer:
        """Return the findings of these kinds, by default of all. See `findings.KINDS`.

        On another computer than a registry host, the kinds that need its files are in `not_checked`. Nothing
        is written; a repeat checks again. `progress` is called with the name of each registry. An error is an
        answer with `success: False`.
        """
        try:
            wanted = _known(kinds)
            with db.connect(self._config.target) as conn:
                db.check_schema(conn)
                context = read_context(
                    conn, self._config, statuses=self._statuses, types=self._types, progress=progress
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
        Everything else needs people: then `success` is false, and `hint` is the remedy.
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
            if dry_run or not plan["success"]:
                it = answers.would(list(plan["registries"]), [*plan["items"]], {})  # type: ignore[list-item]
                return answers.wait_answer(it)
            return self.apply(plan, timeout=timeout)
        it = self._as_outcome(
            lambda: self._would_change(None) if dry_run else self._rebuild(timeout, None), dry_run=dry_run
        )
        return answers.wait_answer(it)


def _known(kinds: Iterable[str] | None) -> set[str]:
    wanted = {*KINDS} if kinds is None else {kinds} if isinstance(kinds, str) else {*kinds}
    if unknown := sorted(wanted - {*KINDS}):
        raise ConfigError(f"no kind of finding is named {unknown[0]!r:.50}", hint=f"use {', '.join(KINDS)}")
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
