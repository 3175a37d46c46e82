"""The result of one transaction, and the check that the transaction is in the client's database."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from omnicdc import db
from omnicdc.db.conninfo import describe_dsn
from omnicdc.delivery.asking import answered, one
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from omnicdc.clients.answers import WaitAnswer
    from omnicdc.clients.block import Block
    from omnicdc.delivery.asking import Asking

ROLLED_BACK = "the block ended in a transaction that had failed: PostgreSQL rolled it back"


class Propagation:
    """The result of one transaction. `result` is empty until the `with` block has ended."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.result: WaitAnswer = cast("WaitAnswer", {})

    def conclude(self, block: Block, wait: Callable[[str | None], WaitAnswer]) -> None:
        """Wait for what the block committed, and store the answer in `result`."""
        waits = self.concluding(block)
        with suppress(StopIteration):
            token = next(waits)
            while True:
                token = waits.send(wait(token))

    def concluding(self, block: Block) -> Generator[str | None, WaitAnswer, None]:
        """Yield the token of each wait that is needed, get its answer, and store the last one in `result`.

        If the block itself ended its transaction, there are two waits: one for everything committed so far,
        and one for the block's first transaction, because the block may have ended it by a rollback or by
        PREPARE TRANSACTION.
        """
        if block.end == "other":
            self.token = None
        self.result = yield self.token
        if block.end == "other" and self.result["success"]:
            first = yield block.token
            self.result = self.result if first["success"] else first
        if block.end == "failed" and self.result["success"]:
            self.result |= {
                "success": False,
                "verdict": "rolled_back",
                "detail": ROLLED_BACK,
                "error": f"rolled_back: {ROLLED_BACK}",
            }


def is_elsewhere(conn: db.Connection, token: str, pid: int | None) -> ConfigError | None:
    """Return an error unless transaction `token` of server process `pid` is open in the database of `conn`.

    Raises DatabaseUnavailable and SchemaMismatch.
    """
    with db.translated("looking where the connection leads"), db.confined(conn):
        return answered(conn, elsewhere(describe_dsn(conn.info.dsn), token, pid))


def elsewhere(database: str, token: str, pid: int | None) -> Asking[ConfigError | None]:
    """Return an error unless transaction `token` of server process `pid` is open in the asked `database`."""
    if (yield from one("is_open_here", {"token": token, "pid": pid}))["is_open"]:
        return None
    return ConfigError(
        f"the connection leads to another database than this client, which asks {database}",
        hint="give the client the connection's DSN (dsn, OMNICDC_DSN), or the block a connection to that "
        "database",
    )
