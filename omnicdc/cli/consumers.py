"""The command `consumer`: list the consumers that the database knows, or remove one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import completion, options
from omnicdc.cli.command import Group
from omnicdc.cli.layout import duration, seconds
from omnicdc.cli.output import answer, say, table
from omnicdc.cli.status.description import state
from omnicdc.errors import ConfigError, OmnicdcError

if TYPE_CHECKING:
    from omnicdc.cli.output import Output
    from omnicdc.db import Connection, Row

_LISTED = (
    "name", "alive", "daemon", "host", "root", "version", "generation", "behind", "started_at",
    "published_at", "seen_at", "silent_limit_s",
)  # fmt: skip

_COLUMNS = ("consumer", "state", "host", "generation", "last seen")
_WIDE = ("changes", "published", "started", "forgotten after", "version", "root")


@click.group(cls=Group)
def consumer() -> None:
    """List the consumers (one for each registry host), or forget one that is gone for good.

    A consumer without a heartbeat for longer than its `consumer_expiry` is removed automatically.
    """


@consumer.command("list")
@options.connection
@options.output
def list_(*, output: Output, **given: Any) -> None:
    """List the consumers that the database knows."""
    from omnicdc import db

    config = options.load(given)
    with db.connect(config.target) as conn:
        db.check_schema(conn)
        known = _known(conn)
    found = [{key: row[key] for key in _LISTED} for row in known]
    wide = output == "wide"
    columns = (*_COLUMNS, *_WIDE) if wide else _COLUMNS
    rows = [(*_row(one), *_details(one)) if wide else _row(one) for one in known]

    def text() -> None:
        if rows:
            table(columns, rows, firm=columns[1:])
        else:
            say("no consumer has ever run here")

    answer({"consumers": found}, output, text)


@consumer.command()
@options.connection
@click.argument("name", shell_complete=completion.consumers)
@options.output
def forget(*, name: str, output: Output, **given: Any) -> None:
    """Forget a consumer that is gone for good: remove its row and the history of its generations.

    The host's files stay as they are. The command is refused while the consumer's daemon is connected. If a
    daemon of this name starts later, it registers again. This needs the role omnicdc_daemon.
    """
    import psycopg

    from omnicdc import db

    config = options.load(given)
    with db.connect(config.target) as conn:
        db.check_schema(conn)
        known = {row["name"]: row for row in _known(conn)}
        if name not in known:
            near = get_close_matches(name, known)
            raise ConfigError(
                f"no consumer is named {name!r}",
                hint=f"did you mean {', '.join(near)}?" if near else "see `omnicdc consumer list`",
            )
        if known[name]["alive"]:
            raise ConfigError(
                f"the daemon of consumer {name!r} is running", hint=f"stop it first, on {known[name]['host']}"
            )
        try:
            with db.translated(f"forgetting consumer {name!r}", role="omnicdc_daemon"):
                while not db.fetch_one(conn, "forget_consumer", {"name": name})["gone"]:
                    pass
        except OmnicdcError as exc:
            refused = exc.__cause__
            # OC001: the consumer's daemon has connected meanwhile.
            if isinstance(refused, psycopg.Error) and refused.sqlstate == "OC001":
                raise ConfigError(exc.message, hint=refused.diag.message_hint or "") from exc
            raise
    answer({"forgotten": name}, output, lambda: say(f"forgotten: {name}", good=True))


def _known(conn: Connection) -> list[Row]:
    from omnicdc import db

    with db.translated("listing the consumers"), db.confined(conn):
        return db.fetch_all(conn, "status_consumers")


def _row(one: Row) -> tuple[object, ...]:
    return one["name"], state(one), one["host"], one["generation"], seconds(one["seen_at"])


def _details(one: Row) -> tuple[object, ...]:
    return (
        one["behind"], seconds(one["published_at"]), seconds(one["started_at"]),
        duration(one["silent_limit_s"]), one["version"], one["root"],
    )  # fmt: skip
