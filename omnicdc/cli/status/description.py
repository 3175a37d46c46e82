"""Lays out the answer of `status` for people: a verdict, a row for each consumer, then details and faults.

No I/O. What matters at night stands first, because a watch cuts what does not fit the terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnicdc.cli.layout import Cell, Line, Table, duration, seconds
from omnicdc.model import OVERDUE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from omnicdc.answers.status import StatusFault
    from omnicdc.cli.layout import Block

MOST_SHOWN = 20
"""At most so many faults are shown; the others are counted."""

LONGEST_NAME = 14
"""A consumer's name that is longer may be folded in a table of 80 columns."""

COUNTED = 10_000
"""From this number on, changes are not counted exactly: see queries.sql."""

_COLUMNS = ("consumer", "state", "generation", "lag", "changes", "published")
_WIDE = ("held", "quarantined", "seen", "xmin", "version", "host", "root", "stages")


def description(
    found: Mapping[str, Any], faults: Sequence[StatusFault], *, wide: bool = False
) -> Iterator[Block]:
    """Yield the lines and tables that show the answer of `status`. With `wide`, all columns."""
    yield Line(f"{found['database']}, {seconds(found['at'])}")
    yield _summary(faults)
    yield Line("")
    yield from _capture(found, wide=wide)
    if found["consumers"]:
        yield Line("")
        yield from _consumers(found["consumers"], wide=wide)
    yield from _faults(faults)
    yield from _remarks(found["consumers"])


def _summary(faults: Sequence[StatusFault]) -> Line:
    if not faults:
        return Line("healthy", good=True)
    return Line("1 fault" if len(faults) == 1 else f"{len(faults)} faults", good=False)


def _capture(found: Mapping[str, Any], *, wide: bool) -> Iterator[Block]:
    capture, log = found["capture"], found["log"]
    tables = ", ".join(source["table"] for source in capture["sources"].values())
    state = "broken" if capture["fault"] else "watching"
    yield Line(f"capture: {state} {tables or 'no table'}", good=None if not capture["fault"] else False)
    for name, source in capture["sources"].items() if wide else ():
        yield Line(f"  {name}: {source['table']} ({', '.join(source['watched'])})")
    changes = f"about {log['changes']}" if log["estimated"] else log["changes"]
    oldest = f", the oldest of {seconds(log['oldest'])}" if log["oldest"] else ""
    yield Line(f"log: {changes} changes{oldest}")


def _consumers(consumers: Sequence[Mapping[str, Any]], *, wide: bool) -> Iterator[Block]:
    columns = (*_COLUMNS, *_WIDE) if wide else _COLUMNS
    domain = "" if wide else common_domain([one["name"] for one in consumers])
    rows = [
        (one["name"].removesuffix(domain), *_row(one), *(_details(one) if wide else ())) for one in consumers
    ]
    yield Table(columns, rows, frozenset(columns[1:]), wide=wide)
    if domain:
        yield Line(f"(all names end in {domain})")


def common_domain(names: Sequence[str]) -> str:
    """Return the domain in which all names end, from its dot on; empty text if no name is too long."""
    if max(map(len, names)) <= LONGEST_NAME:
        return ""
    domains = [name.split(".")[1:] for name in names]
    common: list[str] = []
    for labels in zip(*(reversed(domain) for domain in domains), strict=False):
        if len({*labels}) > 1:
            break
        common.insert(0, labels[0])
    return "".join(f".{label}" for label in common)


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    behind = one["behind"]
    return (
        state(one),
        one["generation"],
        duration(one["lag_s"] or 0.0),
        f"{COUNTED}+" if behind >= COUNTED else behind,
        seconds(one["published_at"]),
    )


def state(one: Mapping[str, Any]) -> Cell:
    """Return whether a consumer's daemon works, in a word or two."""
    if one["blocked_by"]:
        return Cell("blocked", good=False)
    if one["alive"]:
        overdue = one["heartbeat_age_s"] > OVERDUE_S
        return Cell("silent", good=False) if overdue else Cell("alive", good=True)
    return Cell("down", good=False) if one["daemon"] else Cell("run once", good=True)


def _details(one: Mapping[str, Any]) -> tuple[object, ...]:
    stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in (one["stages_ms"] or {}).items())
    return (
        len(one["held"]), sum(one["quarantined_counts"].values()), seconds(one["seen_at"]),
        one["snapshot_xmin"], one["version"], one["host"], one["root"], f"{stages} ms" if stages else "-",
    )  # fmt: skip


def _faults(faults: Sequence[StatusFault]) -> Iterator[Line]:
    """Yield each fault and its remedy on lines of their own; quarantined projects last: there may be many."""
    if faults:
        yield Line("")
        yield Line("faults:")
    for fault in sorted(faults, key=lambda it: it.kind == "quarantine")[:MOST_SHOWN]:
        what, _, remedy = fault.text.partition(" - ")
        yield Line(f"  {what}", good=False)
        yield from [Line(f"    {remedy}")] if remedy else []
    if (more := len(faults) - MOST_SHOWN) > 0:
        yield Line(f"  and {more} more: `omnicdc status --json`")


def _remarks(consumers: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Yield what is no fault, but explains what a reader of the registries sees; the same of several once."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in consumers:
        for remark in _remarks_of(one):
            found.setdefault(remark, []).append(one["name"])
    remarks = [*found.items()]
    if remarks:
        yield Line("")
        yield Line("worth knowing, but no fault:")
    for (what, hint), names in remarks[:MOST_SHOWN]:
        yield Line(f"  {', '.join(names)}: {what}")
        yield from [Line(f"    {hint}")] if hint else []
    if (more := len(remarks) - MOST_SHOWN) > 0:
        yield Line(f"  and {more} more: `omnicdc status --json`")


def _remarks_of(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if one["shadow_of"]:
        yield (
            f"a trial: it publishes into the shadow {one['root']}, not below {one['shadow_of']}",
            "`omnicdc cutover compare`, then `omnicdc cutover switch` (docs/cutover.md)",
        )
    for registry, why in one["unused"].items():
        yield f"{registry} is not published: {why['reason']}", why["hint"]
    for registry in one["postponed"]:
        yield f"{registry} waits for a full scan or a check", ""
    if one["inputs"] == "looking":
        yield f"still looking at {', '.join(one['inputs_waiting_for']) or 'its inputs'}", ""
    for notice in one["input_notices"]:
        yield notice, ""
    if (more := one["input_notice_count"] - len(one["input_notices"])) > 0:
        yield f"{more} more notices of the inputs: see the log", ""
