"""Turns a reading of the estate into what the templates show. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from omnicdc.cli.ui.chart import Point, duration, lag_chart, stage_bar, total_ms
from omnicdc.cli.ui.reading import LISTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from markupsafe import Markup

    from omnicdc.cli.ui.reading import Reading

Kind = Literal["good", "bad", "warn", "idle"]
"""How a badge looks. Its text says the same."""

MOST_FAULTS = 50
"""So many faults are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class Badge:
    """A short state: its text, and how it looks."""

    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Stale:
    """Why a page shows an earlier reading."""

    at: datetime
    """When it was read."""
    age: str
    """Its age when the page was made."""
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class ConsumerView:
    """One registry host."""

    name: str
    state: Badge
    lag: str
    chart: Markup
    generation: int
    published_at: datetime | None
    seen_at: datetime
    host: str
    root: str
    version: str
    inputs: str


@dataclass(frozen=True, slots=True)
class RegistryView:
    """One registry on all hosts."""

    name: str
    state: Badge
    entries: str
    size: str
    consumers: str
    generated_at: str
    rank: tuple[int, str] = field(default=(0, ""), repr=False)


@dataclass(frozen=True, slots=True)
class GenerationView:
    """One generation of one consumer."""

    consumer: str
    number: int
    at: datetime
    changes: int
    registries: str
    """What was rewritten, in one line: of several registries the first one, and how many more."""
    names: str
    """All of them, where the line has not the room."""
    total: str
    stages: Markup
    notes: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the first page."""

    state: Badge
    faults: Sequence[str]
    more_faults: int
    holds: bool
    """Whether a registry is held."""
    consumers: Sequence[ConsumerView]
    registries: Sequence[RegistryView]
    generations: Sequence[GenerationView]
    sources: Mapping[str, Any]
    capture_fault: str | None
    capture_remedy: str | None
    log: str
    log_oldest: datetime | None
    at: datetime


def overview(reading: Reading, *, max_lag_s: float) -> Overview:
    """Return what the first page shows."""
    status = reading.status
    log = status["log"]
    served = {one["name"]: len(one["registries"]) for one in status["consumers"]}
    return Overview(
        state=health(status),
        faults=status["faults"][:MOST_FAULTS],
        more_faults=max(0, len(status["faults"]) - MOST_FAULTS),
        holds=any(one["held"] for one in status["consumers"]),
        consumers=[_consumer(one, reading, max_lag_s) for one in status["consumers"]],
        registries=registries(status["consumers"]),
        generations=[
            _generation(row, served.get(row["consumer"], 0)) for row in reading.generations[:LISTED]
        ],
        sources=status["capture"]["sources"],
        capture_fault=status["capture"]["fault"],
        capture_remedy=status["capture"]["remedy"],
        log=f"{'about ' if log['estimated'] else ''}{log['changes']:,}",
        log_oldest=log["oldest"],
        at=reading.at,
    )


def health(status: Mapping[str, Any]) -> Badge:
    """Return the state of the whole estate."""
    if status["healthy"]:
        return Badge("healthy", "good")
    count = len(status["faults"])
    return Badge("1 fault" if count == 1 else f"{count} faults", "bad")


def _consumer(one: Mapping[str, Any], reading: Reading, max_lag_s: float) -> ConsumerView:
    lag_s = one["lag_s"] if one["behind"] else None
    points = (
        Point((reading.at - row["at"]).total_seconds(), total_ms(row["timings"]))
        for row in reading.generations
        if row["consumer"] == one["name"]
    )
    behind = f"{one['behind']:,}" + ("+" if one["behind"] >= 10_000 else "")  # noqa: PLR2004 - counted so far
    return ConsumerView(
        name=one["name"],
        state=consumer_state(one, max_lag_s),
        lag="none" if lag_s is None else f"{duration(lag_s * 1000)}, {behind} changes",
        chart=lag_chart(points, None if lag_s is None else lag_s * 1000, late_ms=max_lag_s * 1000),
        generation=one["generation"],
        published_at=one["published_at"],
        seen_at=one["seen_at"],
        host=one["host"],
        root=f"{one['root']} (the shadow of {one['shadow_of']})" if one["shadow_of"] else one["root"],
        version=one["version"],
        inputs=one["inputs"] or "not known",
    )


def consumer_state(one: Mapping[str, Any], max_lag_s: float) -> Badge:
    """Return the state of a consumer's daemon."""
    if not one["alive"]:
        return Badge("not running", "bad") if one["daemon"] else Badge("run once", "idle")
    if one["held"]:
        return Badge("holds files", "bad")
    if one["behind"] and (one["lag_s"] or 0) > max_lag_s:
        return Badge("late", "bad")
    if one["last_error"]:
        return Badge("error", "bad")
    if one["faults"] or one["input_faults"] or one["quarantined_counts"]:
        return Badge("faults", "warn")
    return Badge("serving", "good")


def registries(consumers: Iterable[Mapping[str, Any]]) -> list[RegistryView]:
    """Return the registries of all consumers, in the order of publication."""
    found: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for consumer in consumers:
        entries = {entry["name"]: entry for entry in consumer["registries"].values()}
        for name in {*entries, *consumer["held"], *consumer["unused"]}:
            found.setdefault(name, []).append((consumer, entries.get(name, {})))
    return sorted((_registry(name, each) for name, each in found.items()), key=lambda it: it.rank)


def _registry(name: str, found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> RegistryView:
    held = [consumer["name"] for consumer, _ in found if name in consumer["held"]]
    unused = [consumer["name"] for consumer, _ in found if name in consumer["unused"]]
    quarantined = sum(consumer["quarantined_counts"].get(name, 0) for consumer, _ in found)
    if held:
        state = Badge("held", "bad")
    elif quarantined:
        state = Badge(f"{quarantined:,} in quarantine", "warn")
    elif len(unused) == len(found):
        state = Badge("not published", "idle")
    else:
        state = Badge("published", "good")
    served = [entry for _, entry in found if entry]
    return RegistryView(
        name=name,
        state=state,
        entries=_span([entry.get("count") for entry in served]),
        size=_span([entry.get("size") for entry in served], unit="bytes"),
        consumers=f"held on {', '.join(held)}"
        if held
        else ", ".join(consumer["name"] for consumer, _ in found),
        generated_at=max((entry.get("generated_at") or "" for entry in served), default=""),
        rank=(min((entry.get("rank", 1000) for entry in served), default=1000), name),
    )


def _span(values: Sequence[int | None], unit: str = "") -> str:
    """Return a number, or the least and the greatest if the hosts have different ones."""
    known = sorted({value for value in values if value is not None})
    words = [byte_size(value) if unit else f"{value:,}" for value in known[:1] + known[1:][-1:]]
    if len({word.rpartition(" ")[2] for word in words}) == 1 and unit:
        words[:-1] = [word.rpartition(" ")[0] for word in words[:-1]]
    return "–".join(words)  # noqa: RUF001 - a range


def byte_size(count: float) -> str:
    """Return a number of bytes for people: `812 B`, `27.3 kB`, `33.1 MB`."""
    if count < 1000:  # noqa: PLR2004 - bytes in a kB
        return f"{count:.0f} B"
    for unit, size in (("kB", 1e3), ("MB", 1e6)):
        if count < size * 1000:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e9:.1f} GB"


def _generation(row: Mapping[str, Any], served: int) -> GenerationView:
    counts = {"held": len(row["held"]), "later": len(row["postponed"])}
    return GenerationView(
        consumer=row["consumer"],
        number=row["generation"],
        at=row["at"],
        changes=row["changes"],
        registries=rewritten(row["registries"], served),
        names=", ".join(row["registries"]) if len(row["registries"]) > 1 else "",
        total=duration(total_ms(row["timings"])),
        stages=stage_bar(row["timings"]),
        notes=", ".join(f"{count} {what}" for what, count in counts.items() if count),
    )


def rewritten(names: Sequence[str], served: int) -> str:
    """Return what a generation rewrote, of the registries that its consumer serves, in one line."""
    if not names:
        return "none"
    if 1 < served == len(names):
        return "all registries"
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
