"""The text of `omnicdc log` says what became of each registry, and what is to be known once, at the end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from omnicdc.answers.log.entries import generation
from omnicdc.cli.log_text import log_lines

if TYPE_CHECKING:
    from omnicdc.answers.log import LogAnswer, Publication, Transaction

AT = "2026-11-27T08:30:00+00:00"
WIDE = 10_000
RECORDING = "omnicdc install --record-writers"


def publication(
    rewritten: tuple[str, ...] = (), held: tuple[str, ...] = (), later: tuple[str, ...] = ()
) -> Publication:
    return {
        "consumer": "host", "read": True, "generation": 7, "published_at": AT, "milliseconds": 5.0,
        "stages_ms": {}, "registries": [*rewritten], "held": [*held], "postponed": [*later],
    }  # fmt: skip


def transaction(*published: Publication) -> Transaction:
    return {
        "kind": "transaction", "token": "42", "at": AT, "writers": [], "changes": 0, "complete": True,
        "rows": [], "published": [*published],
    }  # fmt: skip


def log(*transactions: Transaction, recorded: bool = False) -> LogAnswer:
    return {
        "of": "all", "name": None, "key": None, "since": None, "writers_recorded": recorded,
        "transactions": [*transactions], "generations": [], "more": False, "searched_back_to": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("published", "text"),
    [
        (publication(("a.json", "b.yaml")), "rewrote a.json, b.yaml"),
        (publication(), "rewrote no file, because the content of no registry changed"),
        (publication(held=("a.json",)), "rewrote no file; not rewritten, because held: a.json"),
        (publication(("b.yaml",), ("a.json",)), "rewrote b.yaml; not rewritten, because held: a.json"),
        (publication(later=("a.json",)), "rewrote no file; rewritten later: a.json"),
    ],
)
def test_each_registry_of_a_publication_has_its_reason(published: Publication, text: str) -> None:
    [_, line, *_] = log_lines(log(transaction(published), recorded=True), WIDE)

    assert line == f"  host: generation 7 after 5 ms; {text}"


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(5.4, "5 ms"), (1500.0, "1.5 s"), (1_471_700.0, "24 min")]
)
def test_a_duration_has_the_unit_of_its_size(milliseconds: float, text: str) -> None:
    late = publication() | {"milliseconds": milliseconds}

    [_, line, *_] = log_lines(log(transaction(late), recorded=True), WIDE)

    assert f"generation 7 after {text};" in line


def test_what_concerns_all_entries_is_said_once_at_the_end() -> None:
    held = transaction(publication(held=("a.json",)))
    plain = [*log_lines(log(transaction(publication())), WIDE)]
    both = [*log_lines(log(held, held), WIDE)]
    recorded = "\n".join(log_lines(log(held, recorded=True), WIDE))
    empty = "\n".join(log_lines(log(), WIDE))

    assert RECORDING in plain[-1]
    assert [RECORDING in line for line in both] == [False] * (len(both) - 1) + [True]
    assert sum("omnicdc status" in line for line in both) == 1
    assert RECORDING not in recorded + empty


def test_a_generation_in_the_history_has_no_duration_of_another_ones_acknowledgement() -> None:
    """Regression: the milliseconds of `acknowledge` were those of the previous generation.

    Daemons of 0.1.0 store them.
    """
    row = {
        "consumer": "host", "generation": 7, "published_at": datetime(2026, 11, 27, tzinfo=UTC), "changes": 1,
        "registries": [], "held": [], "postponed": [],
        "timings": {"acknowledge": 3.0, "publish": 2.0, "wake": 1.0},
    }  # fmt: skip

    assert generation(row)["stages_ms"] == {"wake": 1.0, "publish": 2.0}
