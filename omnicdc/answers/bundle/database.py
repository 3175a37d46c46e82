"""Facts about the database: status, history, installed capture, server. Each collector returns a text.

Raises OmnicdcError if the database cannot answer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from omnicdc import db
from omnicdc.answers import status
from omnicdc.answers.bundle.report import as_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.config.settings import Config
    from omnicdc.db import Connection

CONNECT_S = 15.0
"""Longest time in seconds for connecting, and for each answer."""

HISTORY = 50
"""The number of generations."""

_SAYS_PROJECTS = ("quarantined", "faults", "input_faults", "input_notices")
"""Keys of a consumer whose texts quote CMP, people's files or a command's output. A bundle has counts."""


def collectors(config: Config) -> dict[str, Callable[[], str]]:
    """Return the parts about the database. Each has its own connection, so one failure is one part."""
    wanted: dict[str, Callable[[Connection], str]] = {
        "status.json": partial(_status, config),
        "history.json": _history,
        "server.json": _server,
        "capture.sql": _capture,
    }
    return {name: partial(_connected, config, read) for name, read in wanted.items()}


def _connected(config: Config, read: Callable[[Connection], str]) -> str:
    with db.connect(config.target, timeout_s=CONNECT_S) as conn:
        return read(conn)


def _status(config: Config, conn: Connection) -> str:
    return as_text(without_projects(*status.examine(conn, max_lag_s=config.max_lag_s)))


def without_projects(answer: dict[str, Any], faults: list[status.StatusFault]) -> dict[str, Any]:
    """Return the answer of `status` without what it says about projects; numbers take its place."""
    consumers = answer["consumers"]
    quoting = {f"{it['name']}: {text}" for it in consumers for text in (*it["faults"], *it["input_faults"])}
    shown = [it.text for it in faults if it.kind != "quarantine" and it.text not in quoting]
    return answer | {
        "faults": shown,
        "faults_left_out": len(faults) - len(shown),
        "consumers": [
            it | {"fault_count": len(it["faults"])} | dict.fromkeys(_SAYS_PROJECTS) for it in consumers
        ],
    }


def _history(conn: Connection) -> str:
    with db.translated("reading the history"), db.confined(conn):
        return as_text({"generations": db.fetch_all(conn, "newest_generations", {"most": HISTORY})})


def _server(conn: Connection) -> str:
    with db.translated("reading the server's parameters"), db.confined(conn):
        parameters = {row["name"]: row for row in db.fetch_all(conn, "server_parameters")}
        state = db.fetch_one(conn, "schema_state")
    return as_text(
        {
            "server_version": conn.info.server_version,
            "installed": state["installed"],
            "behind_pooler": conn.behind_pooler,
            "parameters": {
                name: {"value": row["setting"], "source": row["source"]} for name, row in parameters.items()
            },
        }
    )


def _capture(conn: Connection) -> str:
    """Return the functions and triggers as text for people; the text is no script to run."""
    with db.translated("reading the capture"), db.confined(conn):
        functions = db.fetch_all(conn, "installed_functions")
        triggers = db.fetch_all(conn, "installed_triggers")
    lines = [
        f"-- trigger {row['name']} on {row['target']}: enabled {row['enabled']}, type {row['type']}, "
        f"function {row['function']}"
        for row in triggers
    ]
    for row in functions:
        about = f"owner {row['owner']}, security definer {row['definer']}, settings {row['settings']}"
        lines += ["", f"-- function omnicdc.{row['name']}: {about}, access {row['access']}", row["body"]]
    return "\n".join(lines) + "\n"
