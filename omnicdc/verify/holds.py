"""Reads why a registry may differ: this host's daemon holds it, or its table is not captured.

It explains a difference; no result depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.errors import SchemaMismatch
from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.config.settings import Config
    from omnicdc.db import Connection


def read_holds(conn: Connection, config: Config) -> Mapping[str, Fault]:
    """Return each held registry with the reason and the remedy.

    Empty if this host has no daemon, or if the role may not ask. Raises DatabaseUnavailable.
    """
    asked = {"consumer": config.consumer, "root": str(config.require_output_root())}
    try:
        with db.translated("asking which registries are held"), db.confined(conn):
            row = db.fetch_optional(conn, "holds_of", asked)
    except SchemaMismatch:
        return {}
    held = row["held"] if row else {}
    return {name: Fault(it["reason"], it["hint"]) for name, it in held.items()}


def read_captured(conn: Connection) -> frozenset[str] | None:
    """Return the sources whose changes are captured; None if the role may not ask, or if there are none.

    Raises DatabaseUnavailable.
    """
    try:
        with db.translated("asking which tables are captured"), db.confined(conn):
            return frozenset(row["name"] for row in db.fetch_all(conn, "sources")) or None
    except SchemaMismatch:
        return None
