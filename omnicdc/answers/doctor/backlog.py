"""Checks the log's length and its dead rows, and every consumer."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from omnicdc import __version__, db
from omnicdc.answers.doctor.finding import Finding, Skipped, fail, ok, warn
from omnicdc.answers.status import NO_CONSUMER, consumer_faults
from omnicdc.formats.times import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from omnicdc.answers.doctor.site import Site

DEAD = 10_000
"""So many dead rows are normal between two runs of autovacuum."""

SLACK = timedelta(hours=6)
"""Rows may be older than the retention by so much: a batch is deleted now and then, after publications."""

MOST = 5
"""At most so many quarantined projects are named."""


def check_length(site: Site) -> Iterator[Finding]:
    """Whether the log is pruned: no row is much older than the retention."""
    log, conn = site.status["log"], site.installed
    with db.translated("asking for the time"):
        now = db.fetch_one(conn, "clock")["now"]
    holders = [it["name"] for it in site.status["consumers"] if it["daemon"] and not it["alive"]]
    yield log_length(log, now, site.config.retention, holders)


def log_length(log: db.Row, now: datetime, retention: timedelta, not_alive: Sequence[str]) -> Finding:
    """Judge the age of the oldest row. `not_alive` are consumers that may hold the log back."""
    about = "about " if log["estimated"] else ""
    if log["oldest"] is None:
        return ok("empty")
    age = now - log["oldest"]
    seen = f"{about}{log['changes']} changes, the oldest of {to_seconds(log['oldest'])}"
    if age <= retention + SLACK:
        return ok(f"{seen}; retention is {days(retention)}")
    seen += f", {days(age)} old, although the retention is {days(retention)}"
    if not_alive:
        return fail(
            f"{seen}: {', '.join(not_alive)} holds it back",
            f"start that daemon, or `omnicdc consumer forget {shlex.quote(not_alive[0])}`",
        )
    return fail(f"{seen}: no daemon deletes from it", "`systemctl status omnicdc`, `omnicdc status`")


def days(span: timedelta) -> str:
    """Return a length for people: in days, hours or minutes."""
    seconds = span.total_seconds()
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{seconds:.0f} s"


def check_dead_rows(site: Site) -> Iterator[Finding]:
    """Whether something keeps PostgreSQL from removing the log's deleted rows."""
    conn = site.installed
    with db.translated("asking for dead rows"), db.confined(conn):
        rows = db.fetch_optional(conn, "dead_rows") or {"live": 0, "dead": 0}
        holders = db.fetch_all(conn, "old_snapshots")
    yield dead_rows(rows, holders, site.long_s)


def dead_rows(rows: db.Row, holders: Sequence[db.Row], long_s: float) -> Finding:
    """Judge the dead rows, and name the oldest session, prepared transaction or slot that keeps them."""
    dead, live = rows["dead"] or 0, rows["live"] or 0
    seen = f"{live} rows, {dead} dead"
    old = [it for it in holders if it["seconds"] is None or it["seconds"] >= long_s]
    if not old:
        return ok(seen)
    who, remedy = holder(old[0])
    more = f"; {len(old) - 1} more" if len(old) > 1 else ""
    if dead >= max(DEAD, live):
        return fail(f"{seen}, which PostgreSQL cannot remove because of {who}{more}", remedy)
    if old[0]["seconds"] is None:  # a standby, a slot, or a session of another role: mostly a short query
        return ok(seen)
    return warn(f"{seen}; {who} keeps every row that is deleted{more}", remedy)


def holder(row: db.Row) -> tuple[str, str]:
    """Return what keeps dead rows, and how to end it."""
    since = f" since {to_seconds(row['since'])}" if row["since"] else ""
    program = f", {row['program']}" if row["program"] else ""
    name = row["name"]
    if row["kind"] == "session":
        state = row["state"] or "its state needs pg_read_all_stats"
        return (
            f"a transaction of backend {name} ({row['role']}{program}; {state}{since})",
            f"end it in its program, or `select pg_terminate_backend({name})`",
        )
    if row["kind"] == "prepared":
        return (
            f"prepared transaction {name!r} of {row['role']}{since}",
            f"`rollback prepared {_quoted(name)}`",
        )
    if row["kind"] == "slot":
        return (
            f"replication slot {name} ({row['state']})",
            f"`select pg_drop_replication_slot({_quoted(name)})` if its reader is gone",
        )
    return f"the standby {name}{program}", "on it: `alter system set hot_standby_feedback = off`"


def _quoted(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


def check_consumers(site: Site) -> Iterator[Finding]:
    """Whether each consumer has a daemon that is alive and keeps up, and without a fault."""
    consumers = site.status["consumers"]
    if not consumers:
        found = Finding.of_text(NO_CONSUMER)
        yield replace(found, remedy="`systemctl start omnicdc`") if site.unit else found
    for one in consumers:
        faults = [it for it in consumer_faults(one, max_lag_s=site.config.max_lag_s) if it.kind == "other"]
        for fault in faults:
            yield Finding.of_text(fault.text)
        if not faults:
            yield ok(_seen(one))


def _seen(one: db.Row) -> str:
    state = "alive" if one["alive"] else "run by `omnicdc run --once`"
    return f"{one['name']} on {one['host']}: {state}, generation {one['generation']}, {one['behind']} behind"


def check_held(site: Site) -> Iterator[Finding]:
    """Whether the guard or a fault holds a registry back, and which projects are quarantined."""
    faults = [
        it
        for one in site.status["consumers"]
        for it in consumer_faults(one, max_lag_s=site.config.max_lag_s)
        if it.kind in ("held", "quarantine")
    ]
    for fault in faults[:MOST]:
        yield Finding.of_text(fault.text)
    if len(faults) > MOST:
        yield fail(f"{len(faults) - MOST} more", "`omnicdc status`")
    if not faults:
        yield ok("no registry is held, no project is held back")


def check_this_host(site: Site) -> Iterator[Finding]:
    """Whether the daemon of this host serves this root, in this version."""
    consumers = {it["name"]: it for it in site.status["consumers"]}
    name, root = site.config.consumer, site.root
    one = consumers.get(name)
    if one is None:
        if not consumers:
            raise Skipped("no consumer has ever run")
        yield warn(
            f"no consumer is named {name}; known are {', '.join(consumers)}",
            "start it: `systemctl start omnicdc`; or name it: `--consumer NAME`",
        )
        return
    # Between a root and its shadow, a consumer moves at the cutover.
    if one["alive"] and one["root"] != str(root) and str(site.config.root) in (one["root"], one["shadow_of"]):
        yield fail(
            f"consumer {name} publishes below {one['root']}, and not below {root} as configured here",
            "`omnicdc reload`: its daemon has not read the setting `shadow` as it is now",
        )
    elif one["alive"] and one["root"] != str(root):
        yield fail(
            f"consumer {name} serves {one['root']} on {one['host']}, and not {root}",
            "give each host a name of its own: `consumer: NAME` in its configuration",
        )
    elif one["alive"] and one["version"] != __version__:
        yield warn(
            f"the daemon runs version {one['version']}, this command is {__version__}",
            f"on {one['host']}: `systemctl restart omnicdc`",
        )
    else:
        yield ok(f"{name}, version {one['version']}")
