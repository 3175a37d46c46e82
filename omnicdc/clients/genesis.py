"""The client that Genesis uses: it asks, waits and verifies. The work is the daemon's.

A failure is `success: False` with `error` and the verdict, never an exception, and never success for
work that was not done.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omnicdc import config as configuration
from omnicdc import db, sql, verify
from omnicdc import wait as waits
from omnicdc.errors import OmnicdcError
from omnicdc.inputs_state import wait_until_shown, with_inputs
from omnicdc.log import scrubbed
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omnicdc.config import Config
    from omnicdc.verdict import Verdict

Result = dict[str, Any]


class Propagation:
    """What became of one transaction; `result` is there once its `with` block has ended."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.result: Result = {}


class GenesisClient:
    """Waits for what Genesis wrote.

    Finds its connection as the command does: `dsn`, else OMNICDC_DSN, CMP_DB_*, PG*. Each call opens
    a connection of its own, so one client may be shared between threads. `timeout` is in seconds.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        root: str | None = None,
        timeout: float = 30.0,
        config: Config | None = None,
    ) -> None:
        """Raise ConfigError for settings that cannot be used; nothing is connected yet."""
        flags = {"dsn": dsn, "root": root}
        self._config = config or configuration.load(flags, os.environ, uid=os.getuid())
        self._timeout_s = timeout

    def propagate_project(self, project_name: str | None = None, dry_run: bool = False) -> Result:
        """Wait until the last change of the projects of this name is published; None: everything committed.

        Returns `success, dry_run, project, registries_updated` (the files that its generation rewrote),
        `verdict, detail, generation, milliseconds`, and `error` and `hint` without success.
        With `dry_run`: which registries are not up to date for it; nobody waits.
        """
        names = None if project_name is None else [project_name]
        return {"project": project_name} | self._answer(names, dry_run=dry_run)

    def propagate_batch(self, project_names: Sequence[str], dry_run: bool = False) -> Result:
        """Wait once for the last changes of all these projects; `count` and `projects` tell which.

        Otherwise as `propagate_project`.
        """
        names = list(project_names)
        return {"count": len(names), "projects": names} | self._answer(names, dry_run=dry_run)

    def rebuild_all_registries(self, dry_run: bool = False) -> Result:
        """Have every daemon scan everything and look at all inputs, publish what differs, and wait for it.

        Returns `success, dry_run, operation, scanners_run, results` (scanner to what became of its
        registry), and as `propagate_project`.
        """
        frame: Result = {"operation": "full_rebuild", "scanners_run": [], "results": {}}
        return frame | (
            self._guarded(self._would_rebuild, dry_run=True) if dry_run else self._guarded(self._rebuild)
        )

    def verify_propagation(self, project_uuid: str) -> Result:
        """Compare the files with CMP for one project; needs no daemon, but this host's registries.

        Returns `verified, uuid, checks, missing_from` (the checks that failed), `not_expected` (the
        checks of registries that should not hold it, and do not), `details`.
        """
        empty: Result = {
            "verified": False,
            "uuid": str(project_uuid),
            "checks": {},
            "missing_from": [],
            "not_expected": [],
        }

        def ask(conn: db.Connection) -> Result:
            return verify.verify_project(
                conn, self._config, *verify.known_inputs(self._config), str(project_uuid)
            ).as_dict()

        answer = self._guarded(ask)
        answer.pop("success", None)
        return empty | answer

    def token(self, conn: Any) -> str:  # noqa: ANN401 - psycopg's, SQLAlchemy's or any DB-API connection
        """Return the transaction that `conn` is in, to `wait` for after its commit.

        Assigns it an id if it has none yet. `conn` is a connection of psycopg, of SQLAlchemy, or of any
        DB-API driver for PostgreSQL.
        """
        return _scalar(conn, sql.query("token"))

    def wait(self, token: str | None = None, timeout: float | None = None) -> Result:
        """Wait until a transaction is published; without a token, everything committed so far."""
        return self._guarded(lambda conn: self._waited(conn, token, timeout))

    @contextmanager
    def propagation(self, conn: Any) -> Iterator[Propagation]:  # noqa: ANN401 - as for `token`
        """Commit what the block writes through `conn`, then wait for exactly that transaction.

        The outcome is in `result`. An exception in the block rolls back, and nobody waits. `conn` must
        not be inside a transaction that somebody else will end.
        """
        outcome = Propagation()
        with _transaction(conn):
            yield outcome
            outcome.token = self.token(conn)
        outcome.result = self.wait(outcome.token)

    def _answer(self, names: Sequence[str] | None, *, dry_run: bool) -> Result:
        if dry_run:
            return self._guarded(lambda conn: self._would_change(conn, names), dry_run=True)
        return self._guarded(lambda conn: self._waited(conn, self._last(conn, names)))

    def _last(self, conn: db.Connection, names: Sequence[str] | None) -> str | None:
        if names is None:
            return None
        # A barrier, if the log no longer holds their last change: it has long been published then.
        return waits.last_change(conn, waits.projects_named(conn, self._config.table, names))

    def _waited(self, conn: db.Connection, token: str | None, timeout: float | None = None) -> Result:
        timeout_s = self._timeout_s if timeout is None else timeout
        verdict = waits.wait(conn, token, timeout_s=timeout_s, stop=Stop())
        return _result(with_inputs(conn, verdict))

    def _rebuild(self, conn: db.Connection) -> Result:
        with db.translated("asking for a rebuild"):
            token = db.one(conn, "request_rebuild")["token"]
        started = time.monotonic()
        verdict = waits.wait(conn, token, timeout_s=self._timeout_s, stop=Stop())
        if verdict.arrived:
            left = self._timeout_s - (time.monotonic() - started)
            verdict = wait_until_shown(conn, verdict, token, timeout_s=left, stop=Stop())
        answer = _result(verdict)
        if answer["success"]:
            names = verify.registry_names()
            answer["scanners_run"] = list(names)
            rewritten = set(answer["registries_updated"])
            answer["results"] = {
                scanner: "rewritten" if name in rewritten else "unchanged" for scanner, name in names.items()
            }
        return answer

    def _would_rebuild(self, conn: db.Connection) -> Result:
        report = verify.verify_all(conn, self._config, *verify.known_inputs(self._config))
        return {"success": True, **report.as_dry_run()}

    def _would_change(self, conn: db.Connection, names: Sequence[str] | None) -> Result:
        if names is None:
            return self._would_rebuild(conn)
        inputs = verify.known_inputs(self._config)
        ids = waits.projects_named(conn, self._config.table, names)
        reports = [verify.verify_project(conn, self._config, *inputs, one) for one in ids]
        stale = dict.fromkeys(name for report in reports for name in report.stale_registries())
        return {
            "success": True,
            "registries_updated": list(stale),
            "details": [report.as_dict() for report in reports],
        }

    def _guarded(self, ask: Callable[[db.Connection], Result], *, dry_run: bool = False) -> Result:
        """Ask with a connection; what fails becomes an answer."""
        frame: Result = {"success": False, "dry_run": dry_run, "registries_updated": []}
        try:
            with db.connect(self._config.conninfo) as conn:
                db.check_schema(conn)
                return frame | ask(conn)
        except OmnicdcError as exc:
            return frame | {
                "verdict": "unavailable",
                "error": scrubbed(str(exc)),
                "detail": scrubbed(exc.message),
                "hint": exc.hint,
            }


def _result(verdict: Verdict) -> Result:
    told = verdict.as_dict()
    answer = {"success": verdict.arrived, "registries_updated": told.pop("registries"), **told}
    return answer if verdict.arrived else answer | {"error": f"{verdict.status}: {verdict.detail}"}


@contextmanager
def _transaction(conn: Any) -> Iterator[None]:  # noqa: ANN401 - as for `token`
    """End the transaction that the block is in: by commit, or by rollback if it raises."""
    if getattr(conn, "autocommit", False) and hasattr(conn, "transaction"):
        with conn.transaction():
            yield
        return
    try:
        yield
    except BaseException:
        conn.rollback()
        raise
    conn.commit()


def _scalar(conn: Any, statement: str) -> str:  # noqa: ANN401 - as for `token`
    if hasattr(conn, "exec_driver_sql"):
        return str(conn.exec_driver_sql(statement).scalar())
    if not hasattr(conn, "cursor"):
        return _scalar(conn.connection(), statement)  # a session of SQLAlchemy's
    with conn.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
    return str(next(iter(row.values())) if isinstance(row, dict) else row[0])
