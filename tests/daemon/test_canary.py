"""What a canary's flight tells."""

from __future__ import annotations

from omnicdc.daemon.canary import (
    NOT_ACKNOWLEDGED,
    NOT_NOTED,
    NOT_RECEIVING,
    QUEUE_FULL,
    QUEUE_FULL_SHARE,
    Flight,
    diagnose,
)


def test_the_first_station_that_it_did_not_reach_is_told() -> None:
    home = Flight(noted=True, rung=True, acknowledged=True, queue_usage=0.0)

    assert diagnose(home) is None
    assert (
        diagnose(Flight(noted=False, rung=False, acknowledged=False, queue_usage=QUEUE_FULL_SHARE))
        is NOT_NOTED
    )
    assert diagnose(Flight(noted=True, rung=False, acknowledged=True, queue_usage=0.0)) is NOT_RECEIVING
    assert diagnose(Flight(noted=True, rung=True, acknowledged=False, queue_usage=0.0)) is NOT_ACKNOWLEDGED


def test_a_bell_that_nobody_could_ring_is_not_taken_for_deafness() -> None:
    flight = Flight(noted=True, rung=False, acknowledged=True, queue_usage=QUEUE_FULL_SHARE)

    assert diagnose(flight) is QUEUE_FULL
