"""Limits how long a plan waits for locks, and names the session that kept it waiting."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.locks import lock_fault, lock_holders
from omnicdc.errors import DatabaseUnavailable, OmnicdcError
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.config.settings import Config
    from omnicdc.model import Fault

LOCK_NOT_AVAILABLE = "55P03"

LOOK_S = 2.0
"""How long the look for the session that holds a lock may take, in seconds."""


def lock_limit(limit_s: float) -> str:
    """Return the `lock_timeout` for a limit: a little less, so that a lock is named as the reason."""
    return f"{max(19, round(limit_s * 950))}ms"


@contextmanager
def limited(conn: db.Connection, config: Config, timeout_s: float | None) -> Iterator[None]:
    """Limit each wait for a lock in the `with` block. All waiting ends at the deadline of the connection.

    Without `timeout_s`, omnicdc's usual limit for locks stays. Raises DatabaseUnavailable, with the session
    that holds a lock on a table, if there is one.
    """
    # Behind a pooler the session is not ours alone: there only the deadline limits the wait.
    if timeout_s is not None and not conn.behind_pooler:
        db.execute(conn, "limit_lock_wait", {"limit": lock_limit(timeout_s)})
    try:
        yield
    except DatabaseUnavailable as exc:
        too_late = conn.closed and conn.left_s <= 0
        if not too_late and exc.context.get("sqlstate") != LOCK_NOT_AVAILABLE:
            raise
        if (found := _holder(config)) is None:
            raise
        within, longer = "in time", ""
        if timeout_s is not None:
            within, longer = f"in {timeout_s:g} s", "; or a longer --timeout"
        raise DatabaseUnavailable(
            f"planning: {found.reason}, and did not release it {within}", hint=f"{found.hint}{longer}"
        ) from exc


def _holder(config: Config) -> Fault | None:
    """Return the session that holds a lock on one of the tables that a plan reads; None if there is none."""
    try:
        with db.connect(config.target, timeout_s=LOOK_S) as conn:
            tables = find_tables(conn, config, registries(config).values())
            holders = lock_holders(conn, tables.values())
    except OmnicdcError:  # what is known already is reported
        return None
    return lock_fault(holders[0]) if holders else None
