"""The write that all parts measure: Genesis's upsert of one project, which changes all three registries."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any

from support.cmp import UPSERT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from support.cmp import Cmp

SEED = 20261122


def projects(cmp: Cmp) -> list[str]:
    """Return the ids of all projects."""
    return [row[0] for row in cmp.conn.execute("select id::text from projects order by id").fetchall()]


def values(ids: list[str]) -> Iterator[dict[str, Any]]:
    """Yield upserts without an end.

    Nine of ten change everything that registries show of a known project. One of ten adds a project.
    """
    chance = random.Random(SEED)
    number = 0
    while True:
        number += 1
        known = chance.random() < 0.9
        yield {
            "id": chance.choice(ids) if known else str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "name": f"bench-{number}",
            "key": f"bench-key-{number}",
            "type": "SERVICE",
            "status": ("active", "archived")[number % 2],
            "metadata": (
                f'{{"github_url": "https://github.com/bench/repo-{number}", "domain": "d{number % 7}"}}'
            ),
        }


def upsert(conn: psycopg.Connection[Any], row: dict[str, Any]) -> None:
    """Send one upsert."""
    conn.execute(UPSERT, row)
