"""The client that retires projects: by their status, never by DELETE, because other tables refer to them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from psycopg import sql as pgsql

from omnicdc.clients import answers, exclusions
from omnicdc.clients.migration import MigrationClient
from omnicdc.clients.migration.changes import Change
from omnicdc.clients.migration.rows import read_facts, read_values
from omnicdc.clients.migration.selection import one_project
from omnicdc.clients.migration.writing import refusals
from omnicdc.db import sql
from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.formats.urls import github, url_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.clients.exclusions import Exclusion
    from omnicdc.clients.migration import ApplyAnswer, PlanAnswer
    from omnicdc.clients.migration.facts import Facts
    from omnicdc.clients.options import Progress

KEY = "archived"
"""The key of `metadata_` that remembers the status before: `{"status": …, "reason": …, "at": …}`."""

FIELD = f"metadata_.{KEY}"

NO_URL = "it has no URL on GitHub, so it cannot be excluded: it stays in the project registry"


_Metadata = Any
"""The value of `metadata_`, as JSON has it; None for NULL."""


class ArchivedProject(TypedDict):
    """One archived project. `reason` is None if none was given, `at` is RFC 3339."""

    uuid: str
    name: str | None
    status: str | None
    status_before: str | None
    reason: str | None
    at: str | None


class ArchiveAnswer(TypedDict):
    """The answer of `archive`, `restore` and `retire`.

    `plan` is what would be or was changed, `report` how it was applied (None for a dry run), `notices` what
    still stands in the way, and `exclusion` the line that leaves the project out of the project registry.
    """

    success: bool
    dry_run: bool
    error: str | None
    hint: str
    notices: list[str]
    exclusion: Exclusion | None
    plan: PlanAnswer | None
    report: ApplyAnswer | None


class ArchiveClient(MigrationClient):
    """Archives, restores and lists projects. What it needs granted is what MigrationClient needs."""

    def archive(
        self,
        project: str,
        status: str = "archived",
        reason: str | None = None,
        *,
        dry_run: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> ArchiveAnswer:
        """Set a project's status, and remember the status before, so that `restore` is exact.

        `project` is a name, CMP's key or a UUID. A project that is archived already is refused. `timeout`
        is in seconds, for the waiting. With `dry_run`, nothing is changed, and `plan` is what would be. An
        error is an answer with `success: False`.
        """
        make = partial(_archived, status, reason)
        return self._answered(project, make, dry_run=dry_run, timeout=timeout, progress=progress)

    def restore(
        self,
        project: str,
        *,
        dry_run: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> ArchiveAnswer:
        """Give a project the status that it had before `archive`. The remembered status is removed.

        An exclusion stays, because people own that file. A project that `archive` did not archive is refused.
        """
        return self._answered(project, _restored, dry_run=dry_run, timeout=timeout, progress=progress)

    def retire(
        self,
        project: str,
        status: str = "archived",
        reason: str | None = None,
        *,
        write_exclusion: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> ArchiveAnswer:
        """Archive a project, and leave it out of the project registry by a line of the exclusions file.

        The line is in the answer. It is written only with `write_exclusion`, on the registry host. If it
        cannot be written, nothing is changed, and `dry_run` says so too. A project without a URL on GitHub
        cannot be excluded: the answer says so. A repeat is refused, as for `archive`.
        """
        try:
            one, _ = self._found(project)
            line, notices = self._exclusion(one, write=write_exclusion)
        except OmnicdcError as exc:
            it = answers.failed_by(exc, dry_run=dry_run)
            return _answer(dry_run=dry_run, error=it.error, hint=it.hint)
        make = partial(_archived, status, reason)
        found = self._answered(one.uuid, make, dry_run=dry_run, timeout=timeout, progress=progress)
        if not found["success"]:
            return found
        found = {**found, "exclusion": line, "notices": [*found["notices"], *notices]}
        return self._excluded(found, line) if line and write_exclusion and not dry_run else found

    def list(self, *, timeout: float | None = None) -> list[ArchivedProject]:
        """Return the projects that `archive` archived, and the others that have the status `archived`.

        `timeout` is in seconds. Raises ConfigError, DatabaseUnavailable and SchemaMismatch.
        """
        with self._connected(timeout) as conn:
            table = self._table(conn)
            with refusals(table):
                query = pgsql.SQL(sql.query("archived_projects")).format(table=table.identifier)
                rows = conn.execute(query, {"key": KEY}).fetchall()
        return [_listed(row["id"], row["name"], row["status"], row["entry"]) for row in rows]

    def _answered(
        self,
        project: str,
        make: Callable[[Facts, _Metadata], Change],
        *,
        dry_run: bool,
        timeout: float | None,
        progress: Progress | None,
    ) -> ArchiveAnswer:
        try:
            one, metadata = self._found(project)
            change = make(one, metadata)
        except OmnicdcError as exc:
            it = answers.failed_by(exc, dry_run=dry_run)
            return _answer(dry_run=dry_run, error=it.error, hint=it.hint)
        plan = self.plan([change], progress=progress)
        if not plan["success"]:
            return _answer(dry_run=dry_run, error=plan["error"], hint=plan["hint"])
        notices = [*(f"{it['detail']} - {it['hint']}" for it in plan["losses"]), *self._clones(one)]
        if dry_run and not plan["conflicts"]:
            return _answer(dry_run=True, error=None, hint="", notices=notices, plan=plan)
        notices += [f"{it['detail']} - {it['hint']}" for it in plan["conflicts"]]
        report = self.apply(plan, dry_run=dry_run, timeout=timeout, progress=progress)
        return _answer(
            dry_run=dry_run,
            error=report["error"],
            hint=report["hint"],
            notices=notices,
            plan=plan,
            report=None if dry_run else report,
        )

    def _found(self, project: str) -> tuple[Facts, _Metadata]:
        with self._connected() as conn:
            table = self._table(conn)
            with refusals(table):
                one = one_project(read_facts(conn, table).values(), project)
                found = read_values(conn, table, [Change(one.uuid, {"metadata_": None})])
        return one, found.get(one.uuid, {}).get("metadata_")

    def _clones(self, one: Facts) -> tuple[str, ...]:
        """Return a notice for the project's clone on this host."""
        from omnicdc.clients.migration.planning import host_of  # noqa: PLC0415 - it imports the registries

        host = host_of(self._config)
        clone = host.inputs.clones.get(url_key(one.github_url)) if host and one.github_url else None
        return (f"{one.name}: its clone is still at {clone}",) if clone else ()

    def _exclusion(self, one: Facts, *, write: bool) -> tuple[Exclusion | None, tuple[str, ...]]:
        """Return the project's line of the exclusions file, or a notice why there can be none.

        With `write`, this raises ConfigError if the line could not be written. Nothing is written here.
        """
        key = url_key(one.github_url)
        repository = github(key)
        if repository is None:
            return None, (NO_URL,)
        line = exclusions.exclusion(self._config, key, "/".join(repository))
        if write and not line["there"]:
            exclusions.with_entry(Path(line["file"]), "/".join(repository))
        return line, ()

    def _excluded(self, found: ArchiveAnswer, line: Exclusion) -> ArchiveAnswer:
        """Write the line into the exclusions file, unless it is there."""
        if line["there"]:
            return found
        try:
            repository = line["line"].removeprefix(exclusions.PREFIX)
            exclusions.write(Path(line["file"]), self._config.require_root(), repository)
        except OmnicdcError as exc:
            return {**found, "success": False, "error": exc.message, "hint": exc.hint}
        return {**found, "exclusion": {**line, "written": True}}


def _archived(status: str, reason: str | None, one: Facts, metadata: _Metadata) -> Change:
    if isinstance(metadata, dict) and KEY in metadata:
        raise ConfigError(f"{one.name} ({one.uuid}) is archived already", hint="restore it first")
    entry: dict[str, Any] = {"status": one.status, "reason": reason, "at": _now()}
    if metadata is None:
        entry["no_metadata"] = True
    return Change(one.uuid, {"status": status, FIELD: entry})


def _restored(one: Facts, metadata: _Metadata) -> Change:
    entry = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(entry, dict) or "status" not in entry:
        raise ConfigError(
            f"{one.name} ({one.uuid}) was not archived by omnicdc: metadata_.{KEY} is missing",
            hint=f"set its status: omnicdc migrate plan --where \"id = '{one.uuid}'\" --set status=active",
        )
    if entry.get("no_metadata") and metadata == {KEY: entry}:
        return Change(one.uuid, {"status": entry["status"], "metadata_": None})
    return Change(one.uuid, {"status": entry["status"]}, (FIELD,))


def _listed(uuid: str, name: str | None, status: str | None, entry: object) -> ArchivedProject:
    known = entry if isinstance(entry, dict) else {}
    return {
        "uuid": uuid,
        "name": name,
        "status": status,
        "status_before": known.get("status"),
        "reason": known.get("reason"),
        "at": known.get("at"),
    }


def _answer(
    *,
    dry_run: bool,
    error: str | None,
    hint: str,
    notices: list[str] | None = None,
    plan: PlanAnswer | None = None,
    report: ApplyAnswer | None = None,
) -> ArchiveAnswer:
    return {
        "success": error is None,
        "dry_run": dry_run,
        "error": error,
        "hint": hint,
        "notices": notices or [],
        "exclusion": None,
        "plan": plan,
        "report": report,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
