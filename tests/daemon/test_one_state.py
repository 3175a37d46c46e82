"""The state of a lost session is freed before the next session builds its state."""

from __future__ import annotations

import gc
import weakref
from itertools import count
from typing import TYPE_CHECKING, Any

from omnicdc.daemon import once, supervisor
from omnicdc.daemon.signals import SignalFlags
from omnicdc.daemon.systemd import Notifier

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host


def test_the_state_of_a_lost_session_is_freed_before_the_next_is_built(cmp: Cmp, host: Host) -> None:
    """Regression: each reconnect had two full states in memory, and the first one stayed.

    The state is freed without a garbage collection.
    """
    cmp.fill(50)
    signals = SignalFlags()
    documents: list[weakref.ref[Any]] = []
    alive: list[int] = []

    rounds = count()

    def observe(point: str) -> None:
        """In each session, publish twice, and then end the connection.

        The periodic tasks run in between.
        """
        if point == "scanned cmp_projects":
            alive.append(sum(1 for it in documents[: next(rounds) // 2 * 2] if it() is not None))
        if point != "acknowledged" or signals.stop.requested:
            return
        states = [it for it in gc.get_objects() if type(it).__name__ == "State"]
        if len(states) > 1:
            signals.stop()
            return
        documents.append(weakref.ref(states[0].projections["project"].document))
        if len(documents) % 2:
            cmp.upsert(f"project of round {len(documents)}")
            return
        if len(documents) == 6:
            signals.stop()
        cmp.conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and "
            "pid <> pg_backend_pid()"
        )

    gc.collect()
    gc.disable()
    try:
        supervisor.run(host.config, signals, Notifier({}), observe)
    finally:
        gc.enable()

    assert len(documents) == 6
    assert alive == [0] * 6


def test_a_run_does_not_freeze_objects(host: Host) -> None:
    """A frozen object that is part of a reference cycle is never freed."""
    before = gc.get_freeze_count()
    once.run_to_the_end(host.config(), SignalFlags().stop, lambda _point: None)

    assert gc.get_freeze_count() == before
