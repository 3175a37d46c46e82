"""Reads changes, plans and reports from files, and writes plans and reports. The ending names the format."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omnicdc.clients.migration.changes import Change, changes_of
from omnicdc.clients.migration.plans import is_plan, is_report, items_of, undone_items
from omnicdc.errors import ConfigError, RegistryError
from omnicdc.filesystem.atomic import replace
from omnicdc.formats.answer import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from omnicdc.clients.migration.plans import PlanAnswer
    from omnicdc.clients.migration.reports import ApplyAnswer

PLAN = "`omnicdc migrate plan … --out FILE` makes a plan"
APPLY = "`omnicdc migrate apply PLAN` makes the report: PLAN.report"

FORMATS = ".json, .yaml, .yml or .csv"


def read_changes(path: Path) -> list[Change]:
    """Return the changes in a file. Raises ConfigError, with the line where it is known.

    JSON and YAML hold a list of `{"uuid": …, "set": {…}, "unset": […]}`. CSV has a header with `uuid` and the
    names of fields; an empty cell leaves the field as it is, and each value is a text.
    """
    readers = {".json": _json, ".yaml": _yaml, ".yml": _yaml, ".csv": _csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: of which format?", hint=f"name it {FORMATS}")
    try:
        text = path.read_text("utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8, at byte {exc.start}") from exc
    with _named(path):
        return changes_of(reader(text))


def read_plan(path: Path) -> PlanAnswer:
    """Return a plan that was written by `write_answer`. Raises ConfigError, also for a report."""
    found: PlanAnswer = _answer_in(path, PLAN)
    if is_report(found):
        raise ConfigError(
            f"{path} is the report of an apply, and not a plan",
            hint=f"to take the apply back: `omnicdc migrate undo {path}`; to change more: {PLAN}",
        )
    with _named(path):
        items_of(found)
    return found


def read_report(path: Path) -> ApplyAnswer:
    """Return a report that was written by `write_answer`. Raises ConfigError, also for a plan."""
    found: ApplyAnswer = _answer_in(path, APPLY)
    if is_plan(found):
        report = path.with_name(f"{path.name}.report")
        raise ConfigError(
            f"{path} is a plan, and not the report of an apply",
            hint=f"`omnicdc migrate undo {report}`"
            if report.exists()
            else f"`omnicdc migrate apply {path}` makes the report: {report}",
        )
    with _named(path):
        undone_items(found)
    return found


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in the message of a ConfigError."""
    try:
        yield
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc.message}", hint=exc.hint) from exc


def _answer_in(path: Path, hint: str) -> Any:  # noqa: ANN401 - a plan or a report
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}", hint=hint) from exc
    except ValueError as exc:
        raise ConfigError(f"{path}: not JSON: {exc}", hint=hint) from exc


def write_answer(path: Path, answer: object) -> None:
    """Write a plan or a report as JSON, atomically. Raises ConfigError."""
    data = as_json(answer) + "\n"
    try:
        replace(path.absolute().parent, path.name, [data.encode()])
    except RegistryError as exc:
        raise ConfigError(exc.message, hint=exc.hint) from exc


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ConfigError(f"not JSON: {exc}") from exc


def _yaml(text: str) -> object:
    # Imported here: importing a client must not import ruamel.yaml.
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        found = YAML(typ="safe", pure=True).load(text)
        json.dumps(found)
    except YAMLError as exc:
        raise ConfigError(f"not YAML: {' '.join(str(exc).split())}") from exc
    except TypeError as exc:
        raise ConfigError(f"a value is no JSON: {exc}", hint="put dates and times in quotes") from exc
    return found


def _csv(text: str) -> list[dict[str, Any]]:
    rows = csv.reader(text.splitlines(), strict=True)
    try:
        header = next(rows, [])
        if "uuid" not in header:
            raise ConfigError("line 1: no column `uuid`", hint="the header names uuid and the fields to set")
        return [_row(header, row, rows.line_num) for row in rows if row]
    except csv.Error as exc:
        raise ConfigError(f"line {rows.line_num}: {exc}") from exc


def _row(header: list[str], row: list[str], line: int) -> dict[str, Any]:
    if len(row) != len(header):
        raise ConfigError(f"line {line}: {len(row)} cells, and the header has {len(header)}")
    cells = dict(zip(header, row, strict=True))
    return {"uuid": cells.pop("uuid"), "set": {name: value for name, value in cells.items() if value}}
