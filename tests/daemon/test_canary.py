"""The diagnosis of a canary: which step it did not reach."""

from __future__ import annotations

from omnicdc.capture.doorbell import NOT_RECEIVING, QUEUE_FULL, QUEUE_FULL_SHARE
from omnicdc.daemon.canary import NOT_ACKNOWLEDGED, NOT_NOTED, Flight, diagnose


def test_the_diagnosis_is_the_first_step_that_was_not_reached() -> None:
    complete = Flight(noted=True, rung=True, acknowledged=True, queue_usage=0.0)

    assert diagnose(complete) is None
    assert (
        diagnose(Flight(noted=False, rung=False, acknowledged=False, queue_usage=QUEUE_FULL_SHARE))
        is NOT_NOTED
    )
    assert diagnose(Flight(noted=True, rung=False, acknowledged=True, queue_usage=0.0)) is NOT_RECEIVING
    assert diagnose(Flight(noted=True, rung=True, acknowledged=False, queue_usage=0.0)) is NOT_ACKNOWLEDGED


def test_a_full_queue_explains_a_missing_notification() -> None:
    flight = Flight(noted=True, rung=False, acknowledged=True, queue_usage=QUEUE_FULL_SHARE)

    assert diagnose(flight) is QUEUE_FULL
