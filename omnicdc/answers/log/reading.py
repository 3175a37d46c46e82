"""Reads the log and the history. However long they are, what is read of them is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.answers.log.entries import MOST_ROWS, generation, keys_in, transactions
from omnicdc.capture.writers import writers_recorded
from omnicdc.db import sql
from omnicdc.registries.tables import qualified, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from omnicdc.answers.log.entries import Generation, LogAnswer, Transaction
    from omnicdc.answers.log.question import Question


def read_log(conn: db.Connection, asked: Question) -> LogAnswer:
    """Answer a question about the log, the newest first. Raises DatabaseUnavailable."""
    found: list[Transaction] = []
    generations: list[Generation] = []
    reach = None
    with db.translated("reading the log"):
        with db.confined(conn):
            if asked.of == "registry":
                generations, more = _generations(conn, asked)
            else:
                tokens = [row["token"] for row in _tokens(conn, asked)]
                more, tokens = len(tokens) > asked.most, tokens[: asked.most]
                if asked.of == "project" and not more:
                    reach = db.fetch_optional(conn, "log_reach", {"search": asked.search})
        if asked.of != "registry":
            found = described(conn, asked, tokens)
            more = more and len(found) == len(tokens)
        writers = writers_recorded(conn)
    return {
        "of": asked.of,
        "name": asked.name,
        "key": asked.key,
        "since": asked.since.isoformat() if asked.since else None,
        "writers_recorded": writers.recorded,
        "transactions": found,
        "generations": generations,
        "more": more,
        "searched_back_to": reach["at"].isoformat() if reach else None,
    }


def _tokens(conn: db.Connection, asked: Question) -> list[db.Row]:
    params = _params(asked) | {"most": asked.most + 1}
    return db.fetch_all(conn, "log_newest" if asked.of == "all" else "log_of", params)


def _generations(conn: db.Connection, asked: Question) -> tuple[list[Generation], bool]:
    params = _params(asked) | {"most": asked.most + 1, "registry": asked.name}
    found = db.fetch_all(conn, "log_generations", params)
    return [generation(row) for row in found[: asked.most]], len(found) > asked.most


def described(
    conn: db.Connection, asked: Question, tokens: Sequence[str], *, live: bool = False
) -> list[Transaction]:
    """Return transactions in the order of the tokens; unless `live`, with who published them."""
    with db.confined(conn):
        params = _params(asked) | {"tokens": list(tokens), "most": MOST_ROWS}
        changes = db.fetch_all(conn, "log_changes", params)
        published = [] if live else db.fetch_all(conn, "log_publications", params)
    return transactions(changes, published, _names(conn, asked, keys_in(changes)), asked.since)


def _names(conn: db.Connection, asked: Question, keys: list[str]) -> dict[str, str]:
    """Return the names that the projects have now, by UUID; empty if CMP's table is not there."""
    table = resolve(conn, asked.table) if keys else None
    if table is None:
        return {}
    query = pgsql.SQL(sql.query("names_of")).format(table=qualified(table))
    with db.confined(conn):
        return {row["id"]: row["name"] for row in conn.execute(query, {"ids": keys}).fetchall()}


def _params(asked: Question) -> dict[str, Any]:
    return {
        "key": asked.key,
        "sources": list(asked.sources),
        "consumer": asked.consumer,
        "since": asked.since,
        "search": asked.search,
    }
