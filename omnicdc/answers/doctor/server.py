"""Checks the server: its version and settings, room for connections, and the way of notifications."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.doctor.finding import ROOM, Finding, Skipped, fail, ok, warn
from omnicdc.capture.doorbell import NOT_RECEIVING, QUEUE_FULL, QUEUE_FULL_SHARE
from omnicdc.db.pooler import check_session
from omnicdc.delivery.verdict import no_writes
from omnicdc.errors import ConfigError, ServerFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.doctor.site import Site

OLDEST = 140000
"""The oldest server that omnicdc supports, as server_version_num."""

KNOCK_S = 3.0
"""How long to wait for a notification."""

SCAN_MS = 45_000
"""A statement_timeout below this may be too short for a full scan."""


def check_server(site: Site) -> Iterator[Finding]:
    """Whether the server is new enough, and takes writes."""
    with db.translated("looking at the server"), db.confined(site.conn):
        found = db.fetch_one(site.conn, "relied_on_parameters")
    if found["number"] < OLDEST:
        yield fail(f"PostgreSQL {found['version']} is older than 14", "upgrade the server")
    elif cause := no_writes(**site.reads):
        yield fail(cause.reason, cause.hint)
    else:
        yield ok(f"PostgreSQL {found['version']}, takes writes")


def check_parameters(site: Site) -> Iterator[Finding]:
    """Whether the server's settings, and those of the asking role, leave omnicdc what it needs."""
    with db.translated("asking for the settings"), db.confined(site.conn):
        room = db.fetch_one(site.conn, "connection_room")
        found = db.fetch_one(site.conn, "relied_on_parameters")
    problems = [*room_findings(room, site.role.name), *parameter_findings(found, site.role.name)]
    yield from problems
    if not problems:
        left = min(it for it in (room["server"], room["database"], room["role"]) if it is not None)
        yield ok(f"{left} connections are free; autovacuum is on")


def room_findings(room: db.Row, role: str) -> Iterator[Finding]:
    """Yield a fault for each limit that leaves too few connections."""
    causes = {
        "server": (
            "the server",
            "raise max_connections, or `select usename, count(*) from pg_stat_activity group by 1`",
        ),
        "database": (
            f"database {room['database_name']}",
            f"`alter database {room['database_name']} connection limit -1`",
        ),
        "role": (f"role {role}", f"`alter role {role} connection limit -1`"),
    }
    for key, (what, remedy) in causes.items():
        if room[key] is not None and room[key] < ROOM:
            yield fail(f"{what} has {max(0, room[key])} connections left; a daemon needs {ROOM}", remedy)


def parameter_findings(found: db.Row, role: str) -> Iterator[Finding]:
    """Yield what is wrong with the settings."""
    if not found["autovacuum"] or not found["track_counts"]:
        name = "autovacuum" if not found["autovacuum"] else "track_counts"
        yield fail(
            f"{name} is off: the log's dead rows are never removed",
            f"`alter system set {name} = on`, `select pg_reload_conf()`",
        )
    options = dict(it.split("=", 1) for it in found["log_options"] or ())
    if options.get("autovacuum_enabled") in ("false", "off", "no", "0"):
        yield fail(
            "autovacuum is off for omnicdc.change: its dead rows are never removed",
            "`alter table omnicdc.change reset (autovacuum_enabled)`",
        )
    if 0 < found["statement_timeout_ms"] < SCAN_MS:
        yield warn(
            f"statement_timeout of {role} is {found['statement_timeout_ms'] / 1000:g} s: "
            "a full scan must fit into it",
            f"`alter role {role} set statement_timeout = '5min'`",
        )


def check_doorbell(site: Site) -> Iterator[Finding]:
    """Whether a notification that is sent over one connection arrives on another one."""
    conn = site.conn
    if site.reads["standby"]:
        raise Skipped("a standby sends no notifications: see `server`")
    try:
        check_session(conn, site.another)
    except ConfigError as exc:
        if site.role.daemon:
            raise
        yield ok(f"{exc.message}; for clients that is no fault: a wait polls")
        return
    if site.config.wake == "poll":
        yield ok(f"not used: `wake` is poll, the log is read every {site.config.poll_s:g} s")
        return
    try:
        took = _knock(site, conn)
    except ServerFull:
        raise Skipped("needs a second connection: see `parameters` and `daemon roles`") from None
    if took is None:
        yield fail(NOT_RECEIVING.reason, NOT_RECEIVING.hint)
    else:
        yield ok(f"a notification from a second connection arrived in {took * 1000:.0f} ms")


def _knock(site: Site, conn: db.Connection) -> float | None:
    """Notify through a second connection; return after how many seconds it arrived, None if it did not."""
    with db.translated("testing the doorbell"):
        conn.execute("listen omnicdc_doctor")
        try:
            with site.another() as other:
                began = time.monotonic()
                db.execute(other, "knock")
            arrived = list(conn.notifies(timeout=KNOCK_S, stop_after=1))
            return time.monotonic() - began if arrived else None
        finally:
            if not conn.closed:
                conn.execute("unlisten omnicdc_doctor")


def check_queue(site: Site) -> Iterator[Finding]:
    """Whether the server's queue of notifications has room: above a half, writers do not notify."""
    with db.translated("asking for the queue"):
        usage = float(db.fetch_one(site.conn, "queue_usage")["usage"])
    if usage >= QUEUE_FULL_SHARE:
        yield fail(f"{QUEUE_FULL.reason} ({usage:.0%})", QUEUE_FULL.hint)
    else:
        yield ok(f"{usage:.0%} full")
