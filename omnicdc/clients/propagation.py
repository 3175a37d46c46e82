"""What became of one transaction that the client followed, and whether it was in the client's database."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from omnicdc import db
from omnicdc.db.conninfo import describe_dsn
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.clients.answers import WaitAnswer
    from omnicdc.clients.transaction import Block

ROLLED_BACK = "the block ended in a transaction that had failed: PostgreSQL rolled it back"


class Propagation:
    """What became of one transaction; `result` is empty until its `with` block has ended."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.result = cast("WaitAnswer", {})

    def conclude(self, block: Block, wait: Callable[[str | None], WaitAnswer]) -> None:
        """Wait for what the block committed, and take the answer as the result.

        For a block that committed by itself, the wait is for everything committed so far, and for its first
        transaction as well, which it may have ended by a rollback or by PREPARE.
        """
        if block.end == "other":
            self.token = None
        self.result = wait(self.token)
        if block.end == "other" and self.result["success"]:
            first = wait(block.token)
            self.result = self.result if first["success"] else first
        if block.end == "failed" and self.result["success"]:
            self.result |= {
                "success": False,
                "verdict": "rolled_back",
                "detail": ROLLED_BACK,
                "error": f"rolled_back: {ROLLED_BACK}",
            }


def is_elsewhere(looking: db.Connection, token: str, pid: int | None) -> ConfigError | None:
    """Return an error if the server process `pid` does not hold this transaction open in this database."""
    with db.translated("looking where the connection leads"), db.confined(looking):
        is_open = db.fetch_one(looking, "is_open_here", {"token": token, "pid": pid})["is_open"]
    if is_open:
        return None
    return ConfigError(
        "the connection leads to another database than this client, which asks "
        f"{describe_dsn(looking.info.dsn)}",
        hint="give the client the connection's DSN (dsn, OMNICDC_DSN), or the block a connection to that "
        "database",
    )
