"""Waits until the files hold a transaction, and returns a verdict. Even a time-out explains what is missing.

A wait repeats three steps: it reads the database, `verdict` decides, and it sleeps until a daemon notifies
that it has published. `waiting` says which step is next; this module takes them in a thread. A wait for a
transaction is exact. Every other wait, including one for projects by name, is a barrier: it waits for
everything that was committed when it was called.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from omnicdc import db
from omnicdc.delivery import observing
from omnicdc.delivery.asking import answered
from omnicdc.delivery.connections import SLICE_S, Connections, as_connections
from omnicdc.delivery.observing import Goal
from omnicdc.delivery.waiting import GRACE_S, Check, Patience, Sleep, waiting
from omnicdc.registries.tables import qualified, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.config.settings import Config
    from omnicdc.delivery.observation import Observation
    from omnicdc.delivery.verdict import Verdict
    from omnicdc.delivery.waiting import Steps
    from omnicdc.stop import Stop

__all__ = ["Goal", "observe", "projects_named", "take_steps", "wait"]


def wait(
    source: db.Connection | Connections,
    token: str | int | None = None,
    *,
    timeout_s: float,
    stop: Stop,
    projects: Sequence[str] | None = None,
    consumer: str | None = None,
    all_hosts: bool = False,
    grace_s: float = GRACE_S,
    first_poll_s: float = SLICE_S,
) -> Verdict:
    """Wait until every live daemon, or the daemon of `consumer`, has published a transaction.

    Without `token`, wait for everything that was committed when this was called. With `projects`, the
    verdict concerns only these projects. With `all_hosts`, also wait for expected hosts whose daemon is down.
    If `source` is a connection, it must be in autocommit mode. `grace_s` is how long no daemon may be alive.
    `first_poll_s` is the first time between two checks; it doubles.

    Raises ConfigError for a token that this cluster never assigned, for a token that is so old that nothing
    is known about it, for a consumer's name that never existed, and for an invalid time-out. Raises
    SchemaMismatch and DatabaseUnavailable.
    """
    source = as_connections(source)
    patience = Patience(
        timeout_s,
        time.monotonic,
        lambda: stop.requested,
        lambda: source.longest_poll_s,
        grace_s,
        first_poll_s,
    )
    with db.translated("waiting for the publication"):
        return take_steps(
            source, waiting(token, patience, projects=projects, consumer=consumer, all_hosts=all_hosts)
        )


def take_steps(source: Connections, steps: Steps) -> Verdict:
    """Take the steps of a wait, one after the other, and return its verdict."""
    seen_count, answer = 0, None
    try:
        step = next(steps)
        while True:
            if isinstance(step, Check):
                seen_count = source.notification_count()
                answer = _check(source, step)
            elif isinstance(step, Sleep):
                answer = source.sleep(seen_count, step.seconds)
            else:
                time.sleep(step.seconds)
            step = steps.send(answer)
    except StopIteration as end:
        verdict: Verdict = end.value
        return verdict


def _check(source: Connections, step: Check) -> Any:  # noqa: ANN401 - of any kind
    with source.connection(step.within_s) as conn, db.confined(conn):
        return answered(conn, step.asking)


def observe(conn: db.Connection, goal: Goal) -> Observation:
    """Read from the database everything that the verdict depends on."""
    with db.confined(conn):
        return answered(conn, observing.observe(goal))


def projects_named(conn: db.Connection, config: Config, names: Sequence[str]) -> list[str]:
    """Return the ids of the projects with these names. If no project has a name, the name may be a key.

    Raises ConfigError for a name that is neither, SchemaMismatch and DatabaseUnavailable.
    """
    with db.translated("looking for the project"):
        table = config.table_of("projects")
        full_name = qualified(resolve(conn, table) or table)
        with db.confined(conn):
            return answered(conn, observing.named(full_name, names))
