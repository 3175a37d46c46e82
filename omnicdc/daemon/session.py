"""Opens one session of the daemon: a checked connection to CMP, and the state that the loop starts with.

`supervisor` opens one session after another; `loop` serves in a session.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from omnicdc import db
from omnicdc.capture.fingerprint import look_at_capture
from omnicdc.capture.reader import limit_reading_idle
from omnicdc.capture.reading_limit import READING_IDLE_S
from omnicdc.capture.sources import check_sources
from omnicdc.config.settings import describe_dsn
from omnicdc.db import sql
from omnicdc.db.pooler import check_session
from omnicdc.errors import DatabaseUnavailable, LockBusy, OmnicdcError
from omnicdc.files.manifest_file import ManifestFile
from omnicdc.files.publication import load_manifest
from omnicdc.files.registry_file import RegistryFile
from omnicdc.log.events import Repeating
from omnicdc.model import Identity
from omnicdc.registries.catalog import registries
from omnicdc.registries.plugins import plugins
from omnicdc.registries.projection import Projection
from omnicdc.registries.rows import STATEMENT_TIMEOUT, limit
from omnicdc.registries.tables import find_tables
from omnicdc.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from omnicdc.capture.sources import Sources
    from omnicdc.config.settings import Config
    from omnicdc.model import Inputs
    from omnicdc.stop import Stop

log = structlog.get_logger()

NAME_FREED_S = 5.0
"""How many seconds the server may take to detect that the connection of a killed daemon is gone."""


@contextmanager
def session(
    config: Config,
    inputs: Inputs,
    stop: Stop,
    *,
    wait_for_server: bool,
    wait_for_name: bool,
    waiting: Callable[[str], None] = lambda _for: None,
    unreachable: Callable[[OmnicdcError], None] = lambda _exc: None,
    going_on: Callable[[], bool] | None = None,
    statement_timeout: str = STATEMENT_TIMEOUT,
    idle_s: float = READING_IDLE_S,
) -> Iterator[tuple[db.Connection, State]]:
    """Connect, check the database, lock the consumer's name, and give the connection and a new state.

    While this waits, it calls `waiting` repeatedly with the name of what it waits for, and `unreachable` with
    the error of each attempt to connect. Connecting ends when `going_on()` returns false; by default, when a
    stop is requested. Without `wait_for_server`, an unreachable server is an error. Without `wait_for_name`,
    a name that another daemon uses is an error. `idle_s` is the longest pause in seconds between two
    statements of a reading.

    Raises ConfigError, SchemaMismatch, LockBusy, DatabaseUnavailable, and Interrupted.
    """
    going_on = going_on or (lambda: not stop.requested)
    conn = _connect(config, stop, waiting, unreachable, going_on=going_on, patient=wait_for_server)
    conn.stop = stop
    with conn:
        check_session(conn, partial(db.connect, config.target, going_on=going_on))
        conn.pin_session()
        db.check_schema(conn)
        with db.translated("starting"):
            tables = find_tables(conn, config, registries(config).values())
            db.execute(conn, "open_session")
            limit_reading_idle(conn, idle_s)
            # With this limit, a server that never answers a statement leads to an error and a log line.
            limit(conn, statement_timeout, local=False)
            db.execute(conn, "confine", {"local": False})
            served = check_sources(conn, config, tables)
            # Logged only after the checks: an error of a check is one line and names the sources itself.
            log.info(
                "connected",
                database=describe_dsn(conn.info.dsn),
                sources=conn.sources,
                pooled=conn.behind_pooler,
            )
            _report_older_schema(conn)
            _lock_consumer_name(conn, config, stop, waiting, patient=wait_for_name)
            yield conn, _state(conn, config, served, inputs, stop)


def _connect(
    config: Config,
    stop: Stop,
    waiting: Callable[[str], None],
    unreachable: Callable[[OmnicdcError], None],
    *,
    going_on: Callable[[], bool],
    patient: bool,
) -> db.Connection:
    """Connect. If `patient`, retry until it succeeds. Raises Interrupted if `going_on()` returns false."""
    failing = Repeating("database_unavailable", time.monotonic)

    def say(attempt: RetryCallState) -> None:
        waiting("the database")
        exc = attempt.outcome and attempt.outcome.exception()
        if isinstance(exc, OmnicdcError):
            unreachable(exc)
            failing.failed(
                exc.message, error=exc.message, hint=exc.advice(retrying=True), attempt=attempt.attempt_number
            )

    def attended() -> bool:
        waiting("the database")
        return going_on()

    retrying = Retrying(
        retry=retry_if_exception_type(DatabaseUnavailable),
        wait=wait_random_exponential(multiplier=0.2, max=15),
        sleep=stop.wait,
        stop=lambda _: not (patient and going_on()),
        before_sleep=say,
        reraise=True,
    )
    conn = retrying(db.connect, config.target, going_on=attended if patient else going_on)
    failing.recovered()
    return conn


def _report_older_schema(conn: db.Connection) -> None:
    """Log that the schema lacks an additive migration. Everything else works without it."""
    found, known = db.schema_revision(conn), sql.revision()
    if found < known:
        log.warning("schema_older", revision=found, known=known, hint="run `omnicdc install`")


def _lock_consumer_name(
    conn: db.Connection, config: Config, stop: Stop, waiting: Callable[[str], None], *, patient: bool
) -> None:
    """Get the lock on the consumer's name.

    The lock keeps out a second daemon of this name, and shows that this daemon is alive. If `patient`, wait
    until the lock is free; otherwise raise LockBusy after NAME_FREED_S seconds.
    """
    waited = 0.0
    while not db.fetch_one(conn, "lock_consumer_name", {"name": config.consumer})["taken"]:
        if not patient and waited >= NAME_FREED_S:
            found = db.fetch_optional(conn, "consumer_session", {"name": config.consumer}) or {}
            raise LockBusy(
                f"another daemon is running as consumer {config.consumer!r} "
                f"(backend {found.get('pid')} from {found.get('address') or 'this host'})",
                hint="stop it, give this one a name of its own (--consumer), or let it stand by (--standby)",
            )
        if stop.requested:
            raise LockBusy("stopped while waiting for the consumer's name")
        stop.wait(0.2)
        if patient:
            waiting(f"consumer {config.consumer}")
            if not waited:
                log.info("standing_by", consumer=config.consumer)
        waited += 0.2


def _identity(conn: db.Connection) -> Identity:
    """Return the identity of the PostgreSQL cluster. Raises DatabaseUnavailable if it takes no writes."""
    found = db.fetch_one(conn, "identity")
    if found["standby"]:
        raise DatabaseUnavailable(
            "CMP's server is a read-only standby",
            again=True,
            hint="it may be promoted; name all servers in the DSN (host=a,b), and the primary is found",
        )
    if found["read_only"]:
        raise DatabaseUnavailable(
            "CMP's server lets this role only read: default_transaction_read_only is on",
            hint=db.read_only_remedy(db.quoted_role(conn.info.user)),
        )
    return Identity(found["system_identifier"], found["timeline"])


def _state(conn: db.Connection, config: Config, sources: Sources, inputs: Inputs, stop: Stop) -> State:
    """Return a new state, with what the database and the manifest know of earlier generations."""
    watch = sources.watch
    identity = _identity(conn)
    capture = look_at_capture(conn, watch)
    capture.report()
    root, state_dir = config.require_output_root(), config.state_dir
    restore = config.on_drift == "restore"
    files = {
        name: RegistryFile(Projection(scanner, inputs), root, state_dir, restore)
        for name, scanner in sources.scanners.items()
    }
    state = State(
        config=config,
        tables=sources.tables,
        broken=sources.broken,
        unused=sources.unused,
        plugin_faults=plugins().faults,
        watch=watch,
        identity=identity,
        inputs=inputs,
        files=files,
        manifest=ManifestFile(root, state_dir),
        started_at=datetime.now(UTC),
        stop=stop,
        capture=capture,
        snapshot=db.fetch_one(conn, "snapshot")["snapshot"],
        relation_identity=db.fetch_one(conn, "relation_identity")["relation_identity"],
    )
    _restore_from_database(conn, state)
    manifest = load_manifest(files.values(), state.manifest)
    if manifest:
        state.generation = max(state.generation, manifest.generation)
    if manifest and manifest.snapshot and not _comparable(conn, manifest.snapshot):
        log.warning(
            "database_restored",
            shown=manifest.snapshot,
            found=state.snapshot,
            hint="everything is scanned afresh",
        )
    return state


def _restore_from_database(conn: db.Connection, state: State) -> None:
    """Set the generation and the snapshot to the values that the database stores for this consumer.

    The stored snapshot is used only if it can belong to this cluster's past. The first scan is full in any
    case.
    """
    stored = db.fetch_optional(conn, "consumer", {"name": state.config.consumer})
    if db.fetch_one(conn, "forget_other_cluster")["forgotten"]:
        log.warning("log_of_another_cluster", hint="it came with a dump, and is forgotten")
    if stored is None:
        return
    state.generation = stored["generation"]
    for projection in state.projections.values():
        # `omnicdc accept` may have been called while no daemon was running. It applies to these registries.
        projection.hold.by_guard = stored["held"].get(projection.name, {}).get("guard", False)
    known = Identity(stored["system_identifier"], stored["timeline"])
    if known == state.identity and _comparable(conn, stored["snapshot"]):
        state.snapshot = stored["snapshot"]
    else:
        log.warning(
            "snapshot_of_another_cluster", stored=stored["snapshot"], hint="everything is scanned afresh"
        )


def _comparable(conn: db.Connection, snapshot: str) -> bool:
    """Whether a snapshot can belong to this cluster's past. False for text that is not a snapshot."""
    try:
        return bool(db.fetch_one(conn, "comparable", {"last": snapshot})["comparable"])
    except psycopg.DataError:
        return False
