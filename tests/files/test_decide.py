"""The decision about a registry's file, for every combination of causes.

The causes are the wanted content, the file that is found, and the operator's choices.
"""

from __future__ import annotations

from itertools import product

import pytest

from omnicdc.files.decide import (
    Adopt,
    BackUpThenWrite,
    Decision,
    Found,
    HoldFor,
    Keep,
    Policy,
    Tolerate,
    Wanted,
    Write,
    decide,
)
from omnicdc.model import Fault

EXTERNAL = (Found.EDITED, Found.FOREIGN)
LOSSES = {"none": 100, "the guard's": 10}
"""Entries that the registry would have, of 100."""

UNREADABLE = Fault("the disk does not say")

BOTH = (False, True)

CASES = [
    (found, Wanted(entries, 100, is_there=there, is_published=published), Policy(restore, accepted=accepted))
    for found, entries in product(Found, LOSSES.values())
    for there, published in product(BOTH, BOTH)
    for restore, accepted in product(BOTH, BOTH)
]


def expected(found: Found, wanted: Wanted, policy: Policy) -> type[Decision]:
    """Return the decision by the rules, in the order in which docs/how-it-works.md lists them."""
    rules: list[tuple[bool, type[Decision]]] = [
        (found is Found.UNREADABLE, HoldFor),
        (wanted.is_there and found is Found.OURS, Keep),
        (wanted.is_there, Adopt),
        (wanted.entries == LOSSES["the guard's"] and not policy.accepted, HoldFor),
        (found is Found.EDITED and wanted.is_published and not policy.restore, Tolerate),
        (found in EXTERNAL, BackUpThenWrite),
    ]
    return next((decision for holds, decision in rules if holds), Write)


@pytest.mark.parametrize(("found", "wanted", "policy"), CASES)
def test_every_combination_has_its_decision(found: Found, wanted: Wanted, policy: Policy) -> None:
    assert type(decide(wanted, found, policy, UNREADABLE)) is expected(found, wanted, policy)


@pytest.mark.parametrize("found", EXTERNAL)
def test_an_external_change_is_never_overwritten_without_a_copy(found: Found) -> None:
    decisions = [decide(wanted, at, policy) for at, wanted, policy in CASES if at is found]

    assert not [decision for decision in decisions if isinstance(decision, Write)]


def test_the_guard_s_reason_names_the_loss_and_the_command() -> None:
    held = decide(Wanted(10, 100, is_there=False), Found.OURS, Policy())

    assert held == HoldFor(
        Fault(
            "it would lose 90 of its 100 entries at once",
            "look at CMP; if it is meant, run `omnicdc accept`",
        ),
        by_guard=True,
    )


def test_an_unreadable_file_is_held_with_its_reason() -> None:
    wanted = Wanted(100, 100, is_there=False)

    assert decide(wanted, Found.UNREADABLE, Policy(), UNREADABLE) == HoldFor(UNREADABLE)


@pytest.mark.parametrize(
    ("before", "after", "share", "least", "held"),
    [
        (100, 49, 0.5, 10, True),
        (100, 50, 0.5, 10, False),
        (19, 9, 0.5, 10, True),
        (18, 9, 0.5, 10, False),
        (0, 0, 0.5, 10, False),
        (100, 0, 1.0, 10, False),
        (100, 89, 0.1, 11, True),
        (100, 90, 0.1, 11, False),
    ],
)
def test_the_guard_needs_more_than_its_share_and_at_least_its_minimum(
    before: int, after: int, share: float, least: int, *, held: bool
) -> None:
    assert Policy(guard_share=share, guard_min=least).loses_too_much(before, after) is held
