"""The client for changes of many projects: it plans, writes CMP, waits, verifies and can undo."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnicdc import db, verify
from omnicdc.clients import answers
from omnicdc.clients.client import Client, waiting_for
from omnicdc.clients.migration.changes import Change, changes_of
from omnicdc.clients.migration.journal import Journal, committed
from omnicdc.clients.migration.plans import change_of, items_of, no_plan, unaccepted, undone_items
from omnicdc.clients.migration.rehearsal import rehearsal_answer
from omnicdc.clients.migration.reports import apply_answer, error_of
from omnicdc.clients.migration.rows import read_facts, read_table
from omnicdc.clients.migration.selection import one_project, selected, with_owner, with_value
from omnicdc.clients.migration.writing import Written, batches_of, refusals, write_batch
from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.registries.tables import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence

    from omnicdc.clients.migration.changes import ChangeDict
    from omnicdc.clients.migration.facts import Facts
    from omnicdc.clients.migration.plans import PlanAnswer, PlannedItem
    from omnicdc.clients.migration.reports import ApplyAnswer, Result
    from omnicdc.clients.migration.rows import ProjectTable
    from omnicdc.clients.migration.selection import Selection
    from omnicdc.clients.options import Progress


class MigrationClient(Client):
    """Plans changes of projects, applies a plan in one transaction or in batches, and undoes it.

    CMP is written with the rights of the connection's own role: it needs SELECT and UPDATE on the table, and
    membership in omnicdc_client for the waiting.
    """

    def plan(
        self, changes: object, *, timeout: float | None = None, progress: Progress | None = None
    ) -> PlanAnswer:
        """Return what the changes would do: the projects before and after, registries, conflicts and losses.

        `changes` is a list of `{"uuid": …, "set": {FIELD: VALUE}}`. FIELD is a column, or `column.key` for a
        key of a json column. The changes are made in a transaction that is rolled back, so that PostgreSQL
        itself says what it refuses. Its row locks last that long. `timeout` is in seconds; without it, only
        the server limits the time. A repeat plans again. An error is an answer with `success: False`.
        """
        # These import the registries.
        from omnicdc.answers.plan.time_limit import limited  # noqa: PLC0415
        from omnicdc.clients.migration import planning  # noqa: PLC0415

        try:
            wanted = changes_of(changes)
            with self._connected(timeout) as conn, limited(conn, self._config, timeout):
                return planning.plan(conn, self._config, wanted, progress or self._progress)
        except OmnicdcError as exc:
            it = answers.failed_by(exc, dry_run=True)
            return no_plan(it.error or "", it.detail, it.hint)

    def rename(self, project: str, name: str) -> list[ChangeDict]:
        """Return the change that gives a project, by name, key or UUID, another name. Raises OmnicdcError."""
        return _dicts([Change(one_project(self._facts(), project).uuid, {"name": name})])

    def move_owner(self, old: str, new: str, selection: Selection | None = None) -> list[ChangeDict]:
        """Return the changes that move repositories from one owner on GitHub to another: URL and key.

        `selection` limits them to some projects; by default, all of the owner's. Raises OmnicdcError.
        """
        return _dicts(with_owner(self._selected(selection), old, new))

    def move_domain(self, old: str, new: str) -> list[ChangeDict]:
        """Return the changes that move all projects of one domain to another."""
        return _dicts(with_value(self._selected({"domain": old}), "metadata_.domain", new))

    def set_status(self, selection: Selection, status: str) -> list[ChangeDict]:
        """Return the changes that set the status of the selected projects.

        A selection is a mapping of values that must be equal (name, key, type, status, domain, github_url,
        owner), or a list of names and UUIDs. Raises ConfigError for what is not known, SchemaMismatch for a
        missing right, and DatabaseUnavailable.
        """
        return _dicts(with_value(self._selected(selection), "status", status))

    def set_type(self, selection: Selection, type: str) -> list[ChangeDict]:  # noqa: A002 - the column's name
        """Return the changes that set the type of the selected projects. See `set_status`."""
        return _dicts(with_value(self._selected(selection), "type", type))

    def apply(
        self,
        plan: PlanAnswer,
        *,
        accept: Collection[str] = (),
        batch_size: int | None = None,
        journal: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> ApplyAnswer:
        """Write a plan into CMP, wait until the registries show it, and verify each project.

        All is written in one transaction, or, with `batch_size`, in transactions of so many projects. A row
        that is not as the plan found it stops the apply, and nothing of its transaction is written. Conflicts
        of the plan whose kinds are not in `accept` are refused. With `journal`, a file, a repeat after a
        crash knows which transactions were committed, and writes only the others. `timeout` is in seconds,
        for the waiting. An error is an answer with `success: False`.

        With `dry_run`, the rows are compared with the plan as they are now, and the answer says what would be
        applied, skipped and refused; `registries_updated` names the files that would change. Neither CMP nor
        the journal is changed.
        """
        progress = progress or self._progress
        items: Sequence[PlannedItem] = []
        written = Written()
        try:
            items = items_of(plan)
            _check_size(batch_size)
            if refused := unaccepted(plan, accept):
                return self._refused(items, refused, dry_run=dry_run)
            noted = Journal(Path(journal), items) if journal is not None else None
            with self._connected() as conn:
                self._recall(conn, noted, written)
            if dry_run:
                return self._rehearsed(
                    items, written, accept=accept, batch_size=batch_size, timeout=timeout, progress=progress
                )
            self._write(items, written, batch_size=batch_size, journal=noted, progress=progress)
        except OmnicdcError as exc:
            return self._failed(items, written, exc, dry_run=dry_run)
        report = self._concluded(items, written, timeout, progress)
        if noted and report["success"]:
            noted.finish()
        return report

    def undo(
        self,
        report: ApplyAnswer,
        *,
        batch_size: int | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> ApplyAnswer:
        """Restore what an `apply` changed, by its report. A row that was changed since is refused.

        The other arguments are those of `apply`. The report of a dry run is refused, because nothing was
        applied.
        """
        try:
            items = undone_items(report)
        except OmnicdcError as exc:
            return self._failed([], Written(), exc, dry_run=dry_run)
        plan = no_plan("", "", "") | {"success": True, "items": items}
        return self.apply(plan, batch_size=batch_size, dry_run=dry_run, timeout=timeout, progress=progress)

    def _recall(self, conn: db.Connection, journal: Journal | None, written: Written) -> None:
        """Note what an earlier apply of the plan has written. Raises ConfigError if that was everything."""
        if journal and journal.finished:
            raise ConfigError(
                f"this plan was applied: {journal.path} says so", hint="plan again, or remove the journal"
            )
        if journal and journal.batches:
            written.done |= committed(conn, journal.batches)
            written.batches += [it for it in journal.batches if written.done >= {*it.uuids}]

    def _rehearsed(
        self,
        items: Sequence[PlannedItem],
        written: Written,
        *,
        accept: Collection[str],
        batch_size: int | None,
        timeout: float | None,
        progress: Progress,
    ) -> ApplyAnswer:
        """Return the report of a dry run: the changes are planned anew, in one snapshot."""
        from omnicdc.clients.migration import planning  # noqa: PLC0415 - it imports the registries

        left = [it for it in items if it["uuid"] not in written.done]
        changes = {it["uuid"]: change_of(it) for it in left}
        with self._connected(timeout) as conn:
            try:
                fresh = planning.plan(conn, self._config, [*changes.values()], progress)
            except planning.MissingProjectsError as exc:
                known = [it for uuid, it in changes.items() if uuid not in exc.uuids]
                fresh = planning.plan(conn, self._config, known, progress)
        return rehearsal_answer(items, left, fresh, written.done, accept=accept, batch_size=batch_size)

    def _write(
        self,
        items: Sequence[PlannedItem],
        written: Written,
        *,
        batch_size: int | None,
        journal: Journal | None,
        progress: Progress,
    ) -> None:
        with self._connected() as conn:
            table = self._table(conn)
        left = [it for it in items if it["uuid"] not in written.done]
        for number, batch in enumerate(batches_of(left, batch_size), 1):
            write_batch(lambda: db.connect(self._config.target), table, batch, written, journal)
            progress(f"transaction {number}: {len(batch)} projects")

    def _selected(self, selection: Selection | None) -> list[Facts]:
        facts = self._facts()
        return facts if selection is None else selected(facts, selection)

    def _facts(self) -> list[Facts]:
        with self._connected() as conn:
            table = self._table(conn)
            with refusals(table):
                return list(read_facts(conn, table).values())

    def _table(self, conn: db.Connection) -> ProjectTable:
        name = self._config.table_of("projects")
        return read_table(conn, resolve(conn, name) or name)

    def _concluded(
        self, items: Sequence[PlannedItem], written: Written, timeout: float | None, progress: Progress
    ) -> ApplyAnswer:
        """Wait for what was written, and verify each project."""
        deadline = self._deadline(timeout)
        it = answers.Outcome(success=True, detail="nothing was written")
        for batch in written.batches:
            left_s = max(0.0, deadline - time.monotonic())
            progress(waiting_for(batch.token))
            it = self._as_outcome(partial(self._waited, batch.token, timeout_s=left_s))
            if not it.success:
                break
        progress(f"verifying {len(items)} projects")
        verified = self._verified([item["uuid"] for item in items]) if it.success else {}
        wrong = [uuid for uuid, right in verified.items() if not right]
        if wrong:
            text = f"{len(wrong)} projects are not correct in every registry: {', '.join(wrong[:5])}"
            it = replace(it, success=False, detail=text, error=text, hint=f"omnicdc verify {wrong[0]}")
        return self._report(it, items, written, verified=verified)

    def _verified(self, uuids: Sequence[str]) -> dict[str, bool]:
        """Verify the projects on this host. Returns nothing where no registries are."""
        if self._config.root is None:
            return {}
        with self._borrowed(self._timeout_s) as conn:
            reports = verify.verify_projects(conn, self._config, *verify.known_inputs(self._config), uuids)
        return {report.uuid: report.verified for report in reports}

    def _refused(
        self, items: Sequence[PlannedItem], conflicts: Sequence[dict[str, Any]], *, dry_run: bool
    ) -> ApplyAnswer:
        kinds = ", ".join(dict.fromkeys(it["kind"] for it in conflicts))
        text = f"the plan has {len(conflicts)} conflicts: {kinds}"
        it = answers.failed(
            detail=text,
            hint="resolve them and plan again, or accept these kinds",
            error=text,
            dry_run=dry_run,
        )
        return apply_answer(it, items, results={}, verified={}, conflicts=conflicts)

    def _failed(
        self, items: Sequence[PlannedItem], written: Written, exc: OmnicdcError, *, dry_run: bool
    ) -> ApplyAnswer:
        it = answers.failed_by(exc, dry_run=dry_run)
        return self._report(it, items, written, errors=[error_of(exc)])

    def _report(
        self,
        it: answers.Outcome,
        items: Sequence[PlannedItem],
        written: Written,
        *,
        verified: dict[str, bool] | None = None,
        errors: Sequence[dict[str, Any]] = (),
    ) -> ApplyAnswer:
        results: dict[str, Result] = dict.fromkeys(written.done, "applied")
        results |= dict.fromkeys(written.skipped, "skipped")
        return apply_answer(
            it, items, results=results, verified=verified or {}, batches=written.batches, errors=errors
        )


def _check_size(batch_size: object) -> None:
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ConfigError(f"batch_size is a number of projects, 1 or more, and not {batch_size!r:.50}")


def _dicts(changes: Sequence[Change]) -> list[ChangeDict]:
    return [it.as_dict() for it in changes]
