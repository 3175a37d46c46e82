"""The client that Genesis uses: it asks, waits and verifies. The work is the daemon's.

A failure is `success: False` with `error` and the verdict, never an exception, and never success for
work that was not done.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omnicdc import config as configuration
from omnicdc import db, verify
from omnicdc import wait as waits
from omnicdc.clients import transaction
from omnicdc.errors import OmnicdcError
from omnicdc.log import scrubbed
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omnicdc.config import Config
    from omnicdc.verdict import Verdict

Result = dict[str, Any]

_FAILED_BLOCK: Result = {
    "success": False,
    "verdict": "rolled_back",
    "detail": "the block ended in a transaction that had failed: PostgreSQL rolled it back",
    "error": "rolled_back: the block ended in a transaction that had failed: PostgreSQL rolled it back",
    "hint": "let the exception leave the block, or roll back to a savepoint after it",
}


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
        """Have every daemon scan everything and publish what differs, and wait for it.

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

        Assigns it an id if it has none yet. `conn` is a connection of psycopg, of SQLAlchemy, or of any DB-API driver
        for PostgreSQL. Raises ConfigError for one in autocommit mode, which is in no transaction.
        """
        return transaction.token_of(conn)

    def wait(self, token: str | int | None = None, timeout: float | None = None) -> Result:
        """Wait until a transaction is published; without a token, everything committed so far."""
        return self._guarded(lambda conn: self._waited(conn, token, timeout))

    @contextmanager
    def propagation(self, conn: Any) -> Iterator[Propagation]:  # noqa: ANN401 - as for `token`
        """Commit what the block writes through `conn`, then wait for exactly that transaction.

        The outcome is in `result`. An exception in the block rolls back, and there is no wait. A block that commits by
        itself is followed by a wait for everything committed so far. Raises ConfigError before the block runs for a
        connection in autocommit mode (psycopg's excepted: there the transaction is opened here).
        """
        outcome = Propagation()
        with transaction.committed(conn) as block:
            outcome.token = block.token
            yield outcome
        if block.end == "other":
            outcome.token = None
        outcome.result = self.wait(outcome.token)
        if block.end == "failed" and outcome.result["verdict"] != "rolled_back":
            outcome.result |= _FAILED_BLOCK

    def _answer(self, names: Sequence[str] | None, *, dry_run: bool) -> Result:
        if dry_run:
            return self._guarded(lambda conn: self._would_change(conn, names), dry_run=True)
        return self._guarded(lambda conn: self._waited(conn, names=names))

    def _waited(
        self,
        conn: db.Connection,
        token: str | int | None = None,
        timeout: float | None = None,
        names: Sequence[str] | None = None,
    ) -> Result:
        timeout_s = self._timeout_s if timeout is None else timeout
        projects = None if names is None else waits.projects_named(conn, self._config.table, names)
        return _result(waits.wait(conn, token, timeout_s=timeout_s, stop=Stop(), projects=projects))

    def _rebuild(self, conn: db.Connection) -> Result:
        with db.translated("asking for a rebuild"):
            token = db.one(conn, "request_rebuild")["token"]
        answer = self._waited(conn, token)
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
