"""An external change to a registry, of which no backup can be made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from support.host import CANONICAL, INVENTORY, PROJECT, Host, until

if TYPE_CHECKING:
    from faults.disk.trial import Failure, Trial


def check_edit_without_backup(trial: Trial, failure: Failure, reason: str) -> None:
    """Edit a registry from outside while no backup of the edit can be made.

    The daemon does not overwrite the edit until it can make the backup.
    """
    seen, path = len(trial.daemon.events), trial.host.root / PROJECT
    edit = f"edited from outside, {time.monotonic_ns()}"
    with failure:
        path.write_text(edit)
        event = trial.daemon.wait_for("held", after=seen, registry=path.name)
        token = trial.updates.next()
        verdict = trial.cmp.wait(token)
        others = {name: trial.updates.shown(name) for name in (CANONICAL, INVENTORY)}
        assert (verdict.status, path.read_text()) == ("held", edit)
        assert set(others.values()) == {trial.updates.number}
        assert reason in event["reason"]
        assert event["hint"]
    until(lambda: trial.cmp.wait(token).status == "published", "published once the failure is gone")
    until(trial.updates.right, "correct once the failure is gone")
    trial.assert_alive()

    assert edit in backups(trial.host)


def backups(host: Host) -> set[str]:
    """Return the contents of all backups of external changes."""
    return {copy.read_text() for copy in (host.state / "drift").iterdir()}
