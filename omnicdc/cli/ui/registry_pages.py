"""The pages of registries: one registry, its comparison with CMP, and what is held back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

from omnicdc.answers.kept.last_change import last_change
from omnicdc.capture.watch_list import derive
from omnicdc.cli.ui import views
from omnicdc.cli.ui.pages import HEAVY_S, NotFound
from omnicdc.errors import OmnicdcError
from omnicdc.registries.catalog import registries
from omnicdc.verify import known_inputs
from omnicdc.verify.audit import verify_registry
from omnicdc.verify.report import RegistryReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from omnicdc import db
    from omnicdc.answers.kept.last_change import LastChange
    from omnicdc.cli.ui.pages import Desk
    from omnicdc.cli.ui.reading import Reading
    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner
    from omnicdc.verify.difference import EntryDifference, Side

LISTED = 200
"""So many entries of each kind are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class EntryView:
    """One entry that differs: the key of its project, its name, and the fields that differ."""

    key: str
    name: str
    project: str
    fields: Mapping[str, tuple[object, object]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A registry file beside what CMP requires. `lost` are the entries that a publication would remove."""

    registry: str
    status: str
    detail: str
    hint: str
    expected: int
    found: int
    counts: Mapping[str, int]
    lost: Sequence[EntryView]
    missing: Sequence[EntryView]
    stale: Sequence[EntryView]
    header: Mapping[str, tuple[object, object]]
    quarantined: Mapping[str, str]


async def registry(desk: Desk, request: Request) -> Response:
    """Return one registry: what it reads, and its state on each host."""
    name = request.path_params["name"]
    (state, reading), last = await asyncio.gather(desk.state(), _last(desk, name))
    return desk.page("registry.html", state, last=last, **_registry(desk.config, reading, name))


@dataclass(frozen=True, slots=True)
class LastView:
    """The last change of a registry on this host, or why it is not shown."""

    change: LastChange | None = None
    found: Comparison | None = None
    reason: str = ""


async def _last(desk: Desk, name: str) -> LastView | None:
    """Return the last change of a registry; None if the registries are not on this host."""
    scanner = _scanners(desk.config).get(name)
    if scanner is None or desk.config.root is None:
        return None
    try:
        change = await desk.look(("last", name), lambda: last_change(desk.config, scanner.path))
    except OmnicdcError as exc:
        return LastView(reason=str(exc))
    if change is None:
        return LastView(reason="no change of it is in the kept generations")
    it = change.comparison.difference
    if it.fault:
        return LastView(reason=it.fault.reason)
    return LastView(change, comparison(RegistryReport("", name, "differs", difference=it)))


async def difference(desk: Desk, request: Request) -> Response:
    """Return the comparison of one registry's file on this host with CMP, made now."""
    name = request.path_params["name"]
    scanner = _scanners(desk.config).get(name)
    if scanner is None or desk.config.root is None:
        raise NotFound(
            f"{name!r:.100} is no registry of this host's configuration",
            hint="start `omnicdc ui` on the registry host, with its --config and --root",
        )
    (state, _), found = await asyncio.gather(desk.state(), _compared(desk, scanner))
    return desk.page("difference.html", state, found=found, name=name)


async def guard(desk: Desk, _request: Request) -> Response:
    """Return the registries that are held, and what their publication would change on this host."""
    state, reading = await desk.state()
    held = [
        {"consumer": one["name"], "host": one["host"], "root": one["root"], "registry": name, **why}
        for one in reading.status["consumers"]
        for name, why in one["held"].items()
    ]
    scanners = _scanners(desk.config) if desk.config.root else {}
    names = {it["registry"] for it in held if it["consumer"] == desk.config.consumer} & scanners.keys()
    # CMP does not answer: then there is nothing to compare with.
    found = {} if state.error else {name: await _compared(desk, scanners[name]) for name in sorted(names)}
    return desk.page(
        "guard.html",
        state,
        held=held,
        compared=found,
        share=desk.config.guard_share,
        least=desk.config.guard_min,
        here=desk.config.consumer,
    )


async def _compared(desk: Desk, scanner: Scanner) -> Comparison:
    key = ("compare", scanner.name)
    return await desk.ask(key, lambda conn: compared(conn, desk.config, scanner), HEAVY_S)


def compared(conn: db.Connection, config: Config, scanner: Scanner) -> Comparison:
    """Compare a registry's file on this host with CMP. Nothing is written."""
    inputs, inputs_known = known_inputs(config)
    return comparison(verify_registry(conn, config, inputs, inputs_known, scanner.name))


def comparison(report: RegistryReport) -> Comparison:
    """Return what the pages show of a comparison."""
    it = report.difference
    kinds = {"lost": it.removed, "missing": it.added, "stale": it.changed} if it else {}
    return Comparison(
        registry=report.registry,
        status=report.status,
        detail=report.detail,
        hint=report.hint,
        expected=it.expected if it else 0,
        found=it.found if it else 0,
        counts={kind: len(entries) for kind, entries in kinds.items()},
        lost=[*_entries(kinds.get("lost", ()))],
        missing=[*_entries(kinds.get("missing", ()))],
        stale=[*_entries(kinds.get("stale", ()))],
        header=it.header if it else {},
        quarantined=dict([*report.held.items()][:LISTED]),
    )


def _entries(entries: Sequence[EntryDifference]) -> Iterator[EntryView]:
    for entry in entries[:LISTED]:
        side = entry.found or entry.expected
        if side:
            projects = side.item.projects
            yield EntryView(entry.entry_key, _name(side), projects[0] if projects else "", entry.fields)


def _name(side: Side) -> str:
    """Return the name that people know an entry by."""
    fields = side.item.fields
    found = next((fields[name] for name in ("display_name", "name", "repo") if fields.get(name)), "")
    return str(found)


def _scanners(config: Config) -> dict[str, Scanner]:
    """Return registry to scanner, of this host's configuration."""
    return {scanner.registry: scanner for scanner in registries(config).values()}


def _registry(config: Config, reading: Reading, name: str) -> dict[str, Any]:
    hosts = []
    for one in reading.status["consumers"]:
        entries = {entry["name"]: (path, entry) for path, entry in one["registries"].items()}
        if name in {*entries, *one["held"], *one["unused"]}:
            path, entry = entries.get(name, ("", {}))
            hosts.append({
                "consumer": one["name"], "host": one["host"], "path": f"{one['root']}/{path}" if path else "",
                "entry": entry, "size": views.byte_size(entry["size"]) if entry else "",
                "held": one["held"].get(name), "unused": one["unused"].get(name),
                "postponed": name in one["postponed"],
                "quarantined": one["quarantined"].get(name, {}),
                "quarantined_count": one["quarantined_counts"].get(name, 0),
            })  # fmt: skip
    scanner = _scanners(config).get(name)
    if not hosts and scanner is None:
        raise NotFound(f"no registry is called {name!r:.100}", hint="the overview lists all registries")
    view = next((it for it in views.registries(reading.status["consumers"]) if it.name == name), None)
    reads = derive([scanner]).by_scanner[scanner.name] if scanner else {}
    return {
        "name": name, "view": view, "hosts": hosts, "scanner": scanner, "here": config.consumer,
        "query": _query(scanner, config) if scanner else "", "has_files": config.root is not None,
        "declared": next((it for it in config.registries if scanner and it.name == scanner.name), None),
        "reads": {source: sorted(fields) for source, fields in sorted(reads.items())},
        "tables": {source: config.table_of(source) for source in reads},
    }  # fmt: skip


def _query(scanner: Scanner, config: Config) -> str:
    """Return the registry's query as people write it, with the names of the tables."""
    query = cleandoc(scanner.query)
    for source in scanner.sources:
        query = query.replace(f"{{{source}}}", config.table_of(source))
    return query
