"""Verifies several projects in every registry. A few projects are verified one by one, by `project`.

For many projects, CMP is read once and each file is parsed once, as in `audit`. The answers are the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from omnicdc.verify.audit import compare_all
from omnicdc.verify.expectation import NO_REPOSITORY, NOT_IN_CMP, left_out
from omnicdc.verify.holds import read_holds
from omnicdc.verify.project import check_absent, check_present, quarantine_fault, verify_project
from omnicdc.verify.report import WAIT, Check, report_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omnicdc.config.settings import Config
    from omnicdc.db import Connection
    from omnicdc.formats.item import Item
    from omnicdc.model import Inputs
    from omnicdc.registries.scanner import Scanner
    from omnicdc.verify.audit import Compared
    from omnicdc.verify.report import Report

FEW = 20
"""Up to so many projects are verified one by one. Each of them searches every file."""


def verify_projects(
    conn: Connection,
    config: Config,
    inputs: Inputs,
    inputs_known: bool,
    ids: Sequence[str],
    *,
    few: int = FEW,
) -> list[Report]:
    """Compare the files with CMP for some projects, in their order. Writes nothing. A repeat compares again.

    Raises ConfigError if an id is not a UUID, and DatabaseUnavailable. An error of one registry is in its
    check.
    """
    if len(ids) <= few:
        return [verify_project(conn, config, inputs, inputs_known, each) for each in ids]
    compared = [
        _Indexed(it, inputs_known=inputs_known)
        for it in compare_all(conn, config, inputs, inputs_known).values()
    ]
    reports = [_report(project, compared) for project in ids]
    if all(report.verified for report in reports):
        return reports
    holds = read_holds(conn, config)
    return [report.with_holds(holds) for report in reports]


def _report(project: str, registries: Sequence[_Indexed]) -> Report:
    names = (it.compared.registry.name_of(project) for it in registries)
    known = {it.scanner.name: it.knows(project) if it.readable else None for it in registries}
    checks = [it.check(project, in_cmp=any(known.values())) for it in registries]
    return report_of(project, next((name for name in names if name is not None), None), known, checks)


class _Indexed:
    """The comparison of one registry, with indexes by entry key and by project."""

    def __init__(self, compared: Compared, *, inputs_known: bool) -> None:
        self.compared = compared
        self._inputs_known = inputs_known
        self._layout = compared.registry.scanner.layout
        self._quarantined = compared.registry.quarantined_projects()
        self._differs: dict[str, list[Item]] = {}
        """Entry key to the entries that should be in the file and are not."""
        self._found: dict[str, list[Item]] = {}
        difference = compared.report.difference
        for entry in difference.entries if difference and not difference.fault else ():
            lacking = self._differs.setdefault(entry.entry_key, [])
            if entry.expected:
                lacking.append(entry.expected.item)
            if entry.found:
                item = entry.found.item
                for name in {item.entry_key, *item.projects}:
                    self._found.setdefault(name, []).append(item)

    @property
    def scanner(self) -> Scanner:
        """The registry's scanner."""
        return self.compared.registry.scanner

    @property
    def readable(self) -> bool:
        """True if CMP could be read for this registry."""
        return self.compared.report.difference is not None

    def knows(self, project: str) -> bool:
        """Return True if this registry read a row of the project in CMP."""
        return project in self._quarantined or self.compared.registry.knows(project)

    def check(self, project: str, *, in_cmp: bool) -> Check:
        """Check the project in this registry's file."""
        report = self.compared.report
        blank = Check(self.scanner, "unreadable")
        difference = report.difference
        if difference is None:
            return replace(blank, detail=report.detail, hint=report.hint)
        if difference.fault and self.compared.present:
            return replace(blank, detail=difference.fault.reason, hint=difference.fault.hint)
        if project in self._quarantined:
            fault = quarantine_fault(self._quarantined[project])
            return replace(blank, status="missing", detail=fault.reason, hint=fault.hint)
        return self._compare(blank, project, in_cmp=in_cmp)

    def _compare(self, blank: Check, project: str, *, in_cmp: bool) -> Check:
        registry = self.compared.registry
        entry_key = registry.entry_key_of(project)
        entry = registry.document.get(entry_key) if entry_key else None
        if entry_key is None or entry is None:
            strays = [item for item in self._found.get(project, []) if project in item.projects]
            return check_absent(blank, self._why_none(entry_key, in_cmp=in_cmp), strays)
        if not self.compared.present:
            return replace(blank, status="missing", detail="the file does not exist", hint=WAIT)
        wanted = [self._layout.item(core) for core in self._layout.cores(entry)]
        return check_present(
            blank, self._layout, wanted, list(self._in_file(project, wanted)), self._inputs_known
        )

    def _in_file(self, project: str, wanted: Sequence[Item]) -> Iterator[Item]:
        """Yield the entries of a project in the file: those without a difference, and those with one."""
        lacking = [item for key in {item.entry_key for item in wanted} for item in self._differs.get(key, ())]
        for item in wanted:
            if item in lacking:
                lacking.remove(item)
            else:
                yield item
        keys = dict.fromkeys([item.entry_key for item in wanted] + [project])
        seen = [item for key in keys for item in self._found.get(key, [])]
        yield from {id(item): item for item in seen}.values()

    def _why_none(self, entry_key: str | None, *, in_cmp: bool) -> str:
        if not in_cmp:
            return NOT_IN_CMP
        if self.scanner.grouped and not entry_key:
            return NO_REPOSITORY
        return left_out(self.scanner)
