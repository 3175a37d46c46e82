"""The entries of the log as text for people, folded at a width. No I/O but the colour of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from omnicdc.cli.layout import duration, folded
from omnicdc.cli.output import wants_colour

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.answers.log import Generation, LogAnswer, Publication, Transaction
    from omnicdc.answers.log.entries import Changes, Writer

SECOND_MS, MINUTE_MS = 1000, 60_000
KEYS = 10
"""Of so many rows of a group, the answer has the keys."""

NO_DIFFERENCE = "rewrote no file, because the content of no registry changed"

REQUESTS = {
    "rebuild": "request: scan everything",
    "accept": "request: publish what the guard holds",
    "look": "request: read the inputs again",
}


def log_lines(found: LogAnswer, width: int) -> Iterator[str]:
    """Return the lines of a whole answer, the newest entry first."""
    entries: list[Transaction | Generation] = [*found["transactions"], *found["generations"]]
    for number, entry in enumerate(entries):
        if number:
            yield ""
        yield from entry_lines(entry, width)
    if not entries:
        subject = f" of {found['name']}" if found["name"] else ""
        since = f" since {found['since']}" if found["since"] else ""
        yield f"nothing{subject} is in the log{since}: see the setting retention"
    for note in _notes(found):
        yield from folded(f"({note})", width)


def _notes(found: LogAnswer) -> Iterator[str]:
    """Yield what is to be said once, after all entries."""
    done: list[Publication | Generation] = [*found["generations"]]
    done += [one for it in found["transactions"] for one in it["published"]]
    if any(one["held"] for one in done):
        yield "why a registry is held, and the command that releases it: `omnicdc status`"
    if found["transactions"] and not found["writers_recorded"]:
        yield "who writes is not recorded; to record it from now on: `omnicdc install --record-writers`"
    if found["more"]:
        shown = len(found["transactions"]) + len(found["generations"])
        yield f"{shown} shown; older ones: -n {shown * 10}"
    if found["searched_back_to"]:
        yield f"the log is longer: it was searched back to {when(found['searched_back_to'])} only"


def entry_lines(entry: Transaction | Generation, width: int) -> Iterator[str]:
    """Return the lines of one entry; the first one is coloured on a terminal."""
    if entry["kind"] == "transaction":
        yield _heading(f"transaction {entry['token']}  {when(entry['at'])}")
        lines = [*_transaction(entry)]
    else:
        yield _heading(
            f"{entry['consumer']}: generation {entry['generation']}  {when(entry['published_at'])}"
        )
        lines = [*_generation(entry)]
    for line in lines:
        yield from folded(f"  {line}", width)


def _heading(text: str) -> str:
    return click.style(text, "yellow") if wants_colour() else text


def _transaction(entry: Transaction) -> Iterator[str]:
    for writer in entry["writers"]:
        yield f"by {writer_text(writer)}"
        if writer["traceparent"]:
            yield f"traceparent {writer['traceparent']}"
    yield from (_changes(group) for group in entry["rows"])
    if not entry["complete"]:
        yield f"and more: only its first {entry['changes']} changes were read"
    yield from (_publication(one) for one in entry["published"])


def writer_text(writer: Writer) -> str:
    """Return who wrote: role and application."""
    application = writer["application_name"]
    return f"{writer['role']}" + (f" with {application}" if application else "")


def _changes(group: Changes) -> str:
    if group["op"] in REQUESTS:
        return REQUESTS[group["op"]]
    fields = f" of {', '.join(group['fields'])}" if group["fields"] else ""
    table = f"{group['source']}: " if group["source"] not in (None, "projects") else ""
    if group["every_row"]:
        return f"{table}{group['op']}: every row"
    names = [key["name"] or key["key"] for key in group["keys"]]
    count = f" ({group['changes']} changes)" if group["changes"] > len(names) else ""
    more = ", …" if group["changes"] > KEYS else ""
    return f"{table}{group['op']}{fields}: {', '.join(names)}{more}{count}"


def _publication(one: Publication) -> str:
    if not one["read"]:
        return f"{one['consumer']}: not published yet"
    if one["generation"] is None:
        return f"{one['consumer']}: published before the generations that are kept"
    after = _duration(one["milliseconds"] or 0.0)
    return (
        f"{one['consumer']}: generation {one['generation']} after {after}; "
        f"{_rewritten(one)}{_stages(one['stages_ms'])}"
    )


def _generation(entry: Generation) -> Iterator[str]:
    changes = "1 change" if entry["changes"] == 1 else f"{entry['changes']} changes"
    of = f" of transaction {', '.join(entry['tokens'])}" if entry["tokens"] else ""
    yield f"{changes}{of}; {_rewritten(entry)}{_stages(entry['stages_ms'])}"


def _rewritten(one: Publication | Generation) -> str:
    held = f"; not rewritten, because held: {', '.join(one['held'])}" if one["held"] else ""
    later = f"; rewritten later: {', '.join(one['postponed'])}" if one["postponed"] else ""
    if one["registries"]:
        return f"rewrote {', '.join(one['registries'])}{held}{later}"
    return f"rewrote no file{held}{later}" if held or later else NO_DIFFERENCE


def _stages(stages_ms: Mapping[str, float]) -> str:
    if not stages_ms:
        return ""
    return "; " + ", ".join(f"{stage} {ms:.1f}" for stage, ms in stages_ms.items()) + " ms"


def _duration(milliseconds: float) -> str:
    if milliseconds >= MINUTE_MS:
        return duration(milliseconds / SECOND_MS)
    if milliseconds < SECOND_MS:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"


def when(at: str) -> str:
    """Return a time of an answer with milliseconds, in UTC as RFC 3339 writes it."""
    date, _, fraction = at.removesuffix("+00:00").partition(".")
    return f"{date}.{fraction[:3]:0<3}Z"
