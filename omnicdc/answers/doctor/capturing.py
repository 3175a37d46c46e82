"""Checks the capture: the tables, the triggers, the watch list, the queries, and publications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.doctor.finding import FIX_INSTALL, INSTALL, Finding, Fix, Skipped, fail, ok, warn
from omnicdc.answers.locks import lock_fault, lock_holders
from omnicdc.answers.registry_queries import try_queries
from omnicdc.answers.status import publication_fault
from omnicdc.capture.fingerprint import installed_sources, look_at_capture
from omnicdc.capture.sources import check_sources
from omnicdc.capture.watch_list import derive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.doctor.site import Site

LOCKED_S = 5.0
"""A lock that is held for longer is a fault: an ALTER TABLE takes a moment."""


def check_triggers(site: Site) -> Iterator[Finding]:
    """Whether the triggers are there, fire always, and call functions that were not edited."""
    capture = site.status["capture"]
    owner = reported_by(capture["fault"] or "")
    if site.unreadable and "has no SELECT on column" in (capture["fault"] or ""):
        owner = site.unreadable
    if owner:
        raise Skipped(f"{capture['fault']}: see `{owner}`")
    if capture["fault"]:
        remedy = capture["remedy"]
        safe = remedy.startswith("run `omnicdc install`")
        yield fail(f"capture is broken: {capture['fault']}", remedy, FIX_INSTALL if safe else None)
        return
    tables = ", ".join(f"{name} ({it['table']})" for name, it in capture["sources"].items())
    yield ok(f"present on {tables}, enabled always, unedited")


def reported_by(fault: str) -> str:
    """Return the check that reports a fault of the capture as well, with all that is of its kind; else ""."""
    if "row-level security" in fault or fault.startswith("policy "):
        return "row security"
    if fault.startswith("role omnicdc_daemon has no ") and fault.partition(" on ")[2].startswith(
        ("schema omnicdc", "omnicdc.")
    ):
        return "rights"
    return ""


def check_tables(site: Site) -> Iterator[Finding]:
    """Whether CMP has the tables that the registries read, and whether they are captured."""
    conn = site.installed
    site.require_tables()
    if " does not exist" in (site.status["capture"]["fault"] or ""):
        site.unreadable = "triggers"
        site.require_tables()
    with db.translated("comparing the sources"):
        sources = check_sources(conn, site.config, site.tables)
    for name, fault in sources.broken.items():
        yield fail(f"registry {name} cannot be scanned: {fault.reason}", fault.hint, _fix(fault.hint))
    unused = "".join(f"; {name} is not published: {fault.reason}" for name, fault in sources.unused.items())
    yield ok(", ".join(f"{source} is {table}" for source, table in sources.tables.items()) + unused)


def _fix(hint: str) -> Fix | None:
    return FIX_INSTALL if hint.startswith("run `omnicdc install`") else None


def check_locks(site: Site) -> Iterator[Finding]:
    """Whether another session keeps everybody from reading CMP's tables, or omnicdc's."""
    conn = site.installed
    held = lock_holders(conn, site.tables.values())
    held = [row for row in held if row["seconds"] is None or row["seconds"] >= min(LOCKED_S, site.long_s)]
    if held:
        site.unreadable = "locks"
        yield locked(held[0])
    else:
        yield ok("no session keeps readers from CMP's tables")


def locked(row: db.Row) -> Finding:
    """Return the finding of a session that holds a lock on a table."""
    fault = lock_fault(row)
    return fail(f"{fault.reason}: readers and writers of CMP wait", fault.hint)


def check_watch_list(site: Site) -> Iterator[Finding]:
    """Whether the triggers watch all that the registries of this configuration read."""
    conn = site.installed
    captured = installed_sources(conn)
    scanners = [it for it in site.scanners.values() if captured.keys() >= {*it.sources}]
    with db.translated("comparing the watch list"):
        lacking = look_at_capture(conn, derive(scanners)).lacking
    if lacking:
        yield fail(
            f"the capture does not watch {', '.join(lacking)}: each change scans everything",
            INSTALL,
            FIX_INSTALL,
        )
    else:
        count = sum(len(row["watched"]) for row in captured.values())
        yield ok(f"{count} columns are watched, all that {len(scanners)} registries read")


def check_queries(site: Site) -> Iterator[Finding]:
    """Whether the query of each registry runs in CMP. No row is read."""
    site.require_tables()
    trial = try_queries(site.installed, site.config, site.scanners)
    for name, fault in trial.faults.items():
        yield Finding.of_text(f"{name}: {fault}")
    if not trial.faults:
        yield ok(f"the queries of {len(site.scanners)} registries run")


def check_fingerprint(site: Site) -> Iterator[Finding]:
    """Whether the consumers have read everything since tables, types or triggers changed last."""
    conn = site.installed
    with db.translated("comparing the capture's fingerprint"):
        found = db.fetch_all(conn, "fingerprints")
    behind = [row["name"] for row in found if row["alive"] and not row["verified"]]
    if behind:
        yield warn(
            f"a table, a type or a trigger changed since {', '.join(behind)} last read everything",
            "it is read again by itself: `omnicdc wait`",
        )
    else:
        yield ok("unchanged since everything was read")


def check_publications(site: Site) -> Iterator[Finding]:
    """Whether a publication carries omnicdc's tables without being allowed to."""
    conn = site.installed
    with db.translated("looking for publications"), db.confined(conn):
        found = db.fetch_all(conn, "unexpected_publications")
    for row in found:
        yield Finding.of_text(publication_fault(row["name"]))
    if not found:
        yield ok("none carries omnicdc's tables unasked")
