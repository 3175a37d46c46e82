"""Puts the capture into the database, and takes it out again. The SQL itself is in sql/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.capture.attempts import REFUSED, USUAL, Attempts, explained
from omnicdc.capture.watch_list import derive
from omnicdc.capture.writers import CHOICES
from omnicdc.db import sql
from omnicdc.db.errors import first_line
from omnicdc.errors import ConfigError, SchemaMismatch
from omnicdc.registries.tables import NAME_IT, is_optional, qualified, resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner


@dataclass(frozen=True, slots=True)
class Wanted:
    """A source that is to be captured."""

    source: str
    table: str
    """NAME or SCHEMA.NAME, as it was written."""
    watched: tuple[str, ...]
    """Columns, or `column.key` for a key of a json column."""
    key: str | None = None
    """The uuid column that is the key; None for the primary key."""
    optional: bool = False
    """True if CMP may lack the table. Then it is not captured."""
    for_clients: tuple[str, ...] = ()
    """What of `watched` the role omnicdc_client may read as well."""
    required: bool = False
    """True if the capture is broken without the table."""


def wanted(config: Config, scanners: Collection[Scanner], *, for_clients: bool = False) -> tuple[Wanted, ...]:
    """Return what the scanners read, but for sources that CMP may lack and that the configuration turns off.

    Clients verify omnicdc's own registries, so they may read what these show. With `for_clients` they may
    also read what declared registries show.
    """
    everything = derive(scanners)
    shown = everything if for_clients else derive([it for it in scanners if it.builtin])
    found = []
    for source in everything.sources:
        readers = [it for it in scanners if source in it.sources]
        optional = all(is_optional(it, source, config) for it in readers)
        if (table := config.table_of(source)) or not optional:
            keys = [it.key_column for it in readers if it.source == source and it.key_column]
            watched, clients = everything.fields_of(source), shown.fields_of(source)
            required = any(it.builtin and not it.optional for it in readers)
            key = keys[0] if keys else None
            found.append(Wanted(source, table, watched, key, optional, clients, required))
    return tuple(found)


def install(
    conn: db.Connection,
    sources: Sequence[Wanted],
    *,
    allowed: Sequence[str] = (),
    record_writers: bool | None = None,
    attempts: Attempts = USUAL,
) -> bool:
    """Install or upgrade; returns whether the capture was changed. A repeat is harmless.

    What other hosts' registries read of these sources, and sources that only they read, stay captured.
    `allowed` names the publications that may carry omnicdc's tables; they are stored. So is `record_writers`:
    whether each change is logged with its writer; None keeps what was chosen before. One transaction: all or
    nothing. Raises ConfigError for a table that cannot be watched, and where tables would be created or
    altered that a publication carries unasked; LockBusy if a table's lock cannot be had, SchemaMismatch
    without the rights.
    """
    tables = ", ".join(one.table for one in sources)
    for attempt in attempts.retrying():
        with attempt, explained(conn, "install", tables, attempts), conn.transaction():
            targets = {one: target for one in sources if (target := _found(conn, one)) is not None}
            attempts.limit(conn)
            # The table was found by the installer's own path. From here on another user's objects of the same
            # name are not.
            conn.execute("set local search_path = pg_catalog, pg_temp")
            # Before anything else: what others left behind would run with the installer's rights.
            conn.execute(sql.foreign())
            _remove_hollow(conn)
            conn.execute(sql.roles().text)
            _restore_policies(conn, targets.values())
            _migrate(conn, targets.values(), allowed, record_writers)
            changed = [_watch(conn, one, target) for one, target in targets.items()]
            return _renew_others(conn) or any(changed)
    raise AssertionError  # tenacity returns or raises


def _found(conn: db.Connection, source: Wanted) -> str | None:
    """Return the table's full name; None if CMP lacks it and may. Raises ConfigError if it may not."""
    target = resolve(conn, source.table)
    if target is None and not source.optional:
        raise ConfigError(
            f"installing: table {source.table} does not exist in database {conn.info.dbname}", hint=NAME_IT
        )
    return target


def _remove_hollow(conn: db.Connection) -> None:
    """Remove a schema restored from a dump without data.

    Its version is unknown, and there is nothing in it to lose.
    """
    if db.fetch_one(conn, "schema_state")["installed"] and db.fetch_one(conn, "schema_is_hollow")["hollow"]:
        conn.execute(sql.uninstall().text)


def _restore_policies(conn: db.Connection, targets: Iterable[str]) -> None:
    """Create the policies that were altered or dropped.

    Before anything is read of our tables: without them the installer may not see the rows.
    """
    if db.fetch_one(conn, "schema_state")["installed"] and db.fetch_one(conn, "policies_lacking")["lacking"]:
        _lock(conn, targets)
        conn.execute("set local role omnicdc_owner")
        conn.execute(sql.policies().text)
        conn.execute("reset role")


def _migrate(
    conn: db.Connection, targets: Iterable[str], allowed: Sequence[str], record_writers: bool | None
) -> None:
    """Bring omnicdc's own tables and functions, and their rights, to this version."""
    pending = _pending(conn)
    db.execute(conn, "allow_publications", {"names": list(allowed)})
    db.execute(conn, "choose_writers", {"chosen": CHOICES[record_writers]})
    if pending:
        conn.execute(sql.publications().text)
    if 0 < len(pending) < len(sql.migrations()):
        _lock(conn, targets)
    # Before all else: a default value of the first table may call a function that was taken from PUBLIC.
    lacking, grant = sql.executes()
    conn.execute("set local role omnicdc_owner")
    conn.execute(lacking.text)
    conn.execute("reset role")
    conn.execute(grant.text)
    conn.execute("set local role omnicdc_owner")
    for migration in pending:
        conn.execute(migration.script.text)
        # At once: an event trigger may have enabled row-level security for the new tables.
        conn.execute(sql.policies().text)
        known = {"number": migration.number, "name": migration.script.name}
        db.execute(conn, "added" if migration.additive else "migrated", known)
    for function in sql.functions():
        conn.execute(function.text)
    conn.execute(sql.grants().text)
    conn.execute("select omnicdc.allow_publications()")
    conn.execute("select omnicdc.record_writers()")
    conn.execute(sql.policies().text)
    conn.execute("reset role")


def _watch(conn: db.Connection, source: Wanted, target: str) -> bool:
    """Put the triggers on a source's table; returns whether that changed anything."""
    call = pgsql.SQL("select omnicdc.watch({}, {}::regclass, {}, {}, {}, {}) as changed").format(
        source.source, target, source.key, list(source.watched), list(source.for_clients), source.required
    )
    try:
        row = conn.execute(call).fetchone()
    except psycopg.Error as exc:
        if exc.sqlstate != REFUSED or not source.optional:
            raise
        name = source.source
        raise ConfigError(
            f"installing: {first_line(exc)}",
            hint=f'if this is no table of CMP\'s: `tables: {{{name}: ""}}` (or OMNICDC_TABLES={name}=); '
            f"if CMP's has another name: `tables: {{{name}: NAME}}`",
        ) from exc
    return bool(row and row["changed"])


def _renew_others(conn: db.Connection) -> bool:
    """Write the trigger functions of sources that only other hosts read; returns whether any was outdated."""
    conn.execute("set local role omnicdc_owner")
    renewed = bool(db.fetch_one(conn, "renew_trigger_functions")["renewed"])
    conn.execute("reset role")
    return renewed


def _lock(conn: db.Connection, targets: Iterable[str]) -> None:
    """Lock CMP's tables against writers, before omnicdc's tables are altered.

    Writers come to the log from the table: taken the other way round, we would wait for each other, and
    PostgreSQL would make one of CMP's writes fail.
    """
    for target in targets:
        conn.execute(pgsql.SQL("lock table {} in share row exclusive mode").format(qualified(target)))


def uninstall(conn: db.Connection, *, attempts: Attempts = USUAL) -> None:
    """Remove the triggers, the log and everything else but the roles. A repeat is harmless."""
    for attempt in attempts.retrying():
        with attempt, explained(conn, "uninstall", "the watched tables", attempts), conn.transaction():
            attempts.limit(conn)
            conn.execute("set local search_path = pg_catalog, pg_temp")
            conn.execute(sql.foreign())
            conn.execute(sql.uninstall().text)


def release(conn: db.Connection, source: str, *, attempts: Attempts = USUAL) -> bool:
    """End the capture of a source; returns False if there is none of this name.

    Raises LockBusy if the table's lock cannot be had, and ConfigError without the rights.
    """
    for attempt in attempts.retrying():
        with attempt, explained(conn, f"source release {source}", source, attempts), conn.transaction():
            attempts.limit(conn)
            conn.execute("set local search_path = pg_catalog, pg_temp")
            return bool(db.fetch_one(conn, "release_source", {"name": source})["released"])
    raise AssertionError  # tenacity returns or raises


def _pending(conn: db.Connection) -> list[sql.Migration]:
    found = db.schema_revision(conn)
    if found > sql.revision():
        raise SchemaMismatch(
            f"the schema is at {found}, newer than this omnicdc knows ({sql.revision()})",
            hint="install with the newer version: `pip install --upgrade omnicdc`",
        )
    return [migration for migration in sql.migrations() if migration.number > found]
