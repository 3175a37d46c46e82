"""`decide` returns the verdict that follows from an observation, or None while the wait must continue."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from omnicdc.delivery.observation import Consumer, Delivery, Observation, Transaction
from omnicdc.delivery.verdict import decide, give_up

AT = datetime(2026, 11, 22, tzinfo=UTC)
COMMITTED = Transaction("committed", 1, ("p",), AT, pruned=False)
DELIVERY = Delivery(7, ("a.json",), (), AT + timedelta(milliseconds=5))
HOST = Consumer("host", alive=True, same_cluster=True, covered=True, behind=0, delivery=DELIVERY)
OBSERVATION = Observation("42", COMMITTED, [HOST], None)


def _with(
    host: Consumer = HOST,
    transaction: Transaction | None = COMMITTED,
    **changed: Any,  # noqa: ANN401
) -> Observation:
    return replace(OBSERVATION, consumers=[host], transaction=transaction, **changed)


def test_published_names_generation_registries_and_milliseconds() -> None:
    verdict = decide(OBSERVATION)

    assert verdict
    assert (verdict.status, verdict.generation, verdict.registries, verdict.milliseconds) == (
        "published",
        7,
        ("a.json",),
        5.0,
    )
    assert verdict.arrived


@pytest.mark.parametrize(
    "observation",
    [
        _with(replace(HOST, covered=False)),
        _with(replace(HOST, same_cluster=False)),
        _with(replace(HOST, alive=False)),
        _with(replace(HOST, verified=False)),
        _with(replace(HOST, verified=False), replace(COMMITTED, changes=0)),
        _with(replace(HOST, verified=False), None),
        _with(transaction=replace(COMMITTED, status="in progress", changes=0)),
        replace(OBSERVATION, consumers=[]),
        replace(OBSERVATION, consumers=[HOST, replace(HOST, name="late", covered=False)]),
    ],
)
def test_a_wait_that_may_still_succeed_has_no_verdict(observation: Observation) -> None:
    assert decide(observation) is None


@pytest.mark.parametrize(
    ("observation", "status", "arrived"),
    [
        (_with(transaction=replace(COMMITTED, status="aborted")), "rolled_back", False),
        (_with(transaction=replace(COMMITTED, changes=0)), "nothing_to_do", True),
        (_with(replace(HOST, covered=False), replace(COMMITTED, changes=0)), "nothing_to_do", True),
        (_with(replace(HOST, alive=False), replace(COMMITTED, changes=0)), "nothing_to_do", True),
        (_with(transaction=replace(COMMITTED, changes=0), capture_fault="x"), "capture_broken", False),
        (_with(transaction=replace(COMMITTED, changes=0, pruned=True)), "published", True),
        (_with(transaction=None), "published", True),
        (
            _with(replace(HOST, hidden=("a.json",), held={"a.json": {"reason": "r", "hint": "h"}})),
            "held",
            False,
        ),
        (_with(replace(HOST, quarantined={"a.json": {"p": "r"}})), "quarantined", False),
        (
            _with(replace(HOST, quarantined={"a.json": {"other": "r"}}), None, projects=("p",)),
            "published",
            True,
        ),
        (
            replace(OBSERVATION, consumers=[HOST, replace(HOST, name="dead", alive=False, covered=False)]),
            "published",
            True,
        ),
    ],
)
def test_each_verdict_follows_from_its_cause(observation: Observation, status: str, *, arrived: bool) -> None:
    verdict = decide(observation)

    assert verdict
    assert (verdict.status, verdict.arrived) == (status, arrived)


def test_every_held_registry_is_named_with_its_reason_and_its_remedy() -> None:
    """Regression: the verdict named the first registry only."""
    loss, closed = {"reason": "a loss", "hint": "accept it"}, {"reason": "closed", "hint": "open it"}
    held = {"a.json": loss, "b.yaml": closed, "c.json": loss}
    one = replace(HOST, hidden=("a.json", "b.yaml", "c.json"), held=held)
    other = replace(HOST, name="other", hidden=("a.json",), held=held)

    here, both = decide(_with(one)), decide(replace(OBSERVATION, consumers=[one, other]))

    assert here
    assert here.detail == "a.json, c.json are held: a loss; b.yaml is held: closed"
    assert here.hint == "accept it; open it"
    assert both
    assert both.detail.endswith("; a.json is held on other: a loss")


@pytest.mark.parametrize(
    ("observation", "status", "text"),
    [
        (
            _with(replace(HOST, covered=False, behind=3, last_error="boom")),
            "timeout",
            "3 changes to publish (boom)",
        ),
        (_with(transaction=replace(COMMITTED, status="in progress")), "timeout", "still open"),
        (_with(replace(HOST, alive=False)), "no_consumer", "host not running"),
        (replace(OBSERVATION, consumers=[]), "no_consumer", "none has ever run here"),
        (_with(replace(HOST, covered=False), capture_fault="trigger gone"), "capture_broken", "trigger gone"),
    ],
)
def test_after_the_timeout_the_verdict_names_the_cause(
    observation: Observation, status: str, text: str
) -> None:
    verdict = give_up(observation, waited_s=1.5)

    assert verdict.status == status
    assert text in verdict.detail
    assert not verdict.arrived
