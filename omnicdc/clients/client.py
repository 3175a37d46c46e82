"""What all clients share: the settings, the connections, and the waiting for a transaction.

A failure of a call is an answer with `success: False`, `error` and a verdict, not an exception. `success` is
true only when the work is done.
"""

from __future__ import annotations

import os
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omnicdc import db, verify
from omnicdc.clients import answers, dry_run, transaction
from omnicdc.clients.propagation import Propagation, is_elsewhere
from omnicdc.config import settings as configuration
from omnicdc.delivery import wait as waits
from omnicdc.delivery.connections import SLICE_S
from omnicdc.delivery.given import seconds
from omnicdc.delivery.inputs_state import wait_until_shown
from omnicdc.delivery.wait_pool import Lease
from omnicdc.errors import OmnicdcError
from omnicdc.filesystem.atomic import no_observer
from omnicdc.formats.answer import as_json
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from omnicdc.answers.explain.answers import Explanation
    from omnicdc.clients.options import Progress
    from omnicdc.config.settings import Config
    from omnicdc.delivery.verdict import Verdict

CHECK_S = 2.0
"""Longest time in seconds for checking the database of a caller's transaction, which stays open meanwhile."""


class Client:
    """Waits until the registries show a transaction. Each client adds its own workflow.

    A client finds CMP as the command does: by `dsn`, else OMNICDC_DSN, CMP_DB_*, the configuration file, PG*.
    All clients of a process with the same target share a few connections. So threads may share a client, and
    a process may have many. `close`, or the end of a `with` block, gives the connections back; a later call
    reopens them.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
        all_hosts: bool = False,
        config: Config | None = None,
        progress: Progress = no_observer,
    ) -> None:
        """Read the settings; connect nothing yet. Raises ConfigError for invalid settings.

        `timeout` is in seconds, for calls that name no other. With `all_hosts`, no answer is a success while
        the daemon of a registered host is down. `progress` is called with a line of text before each step of
        a call. It should not raise: that would end the call.
        """
        flags = {"dsn": dsn, "root": None if root is None else os.fspath(root)}
        self._config = config or configuration.load(
            flags,
            os.environ,
            uid=os.getuid(),
            flag_name=f"{type(self).__name__}({{}}=…)".format,
            default_file=configuration.DEFAULT_FILE,
        )
        self._timeout_s = seconds(timeout)
        self._all_hosts = all_hosts
        self._progress = progress
        self._lease = Lease(self._config.target, self._config.wait_connections)
        self._finalizer = weakref.finalize(self, self._lease.abandon)

    @property
    def config(self) -> Config:
        """The settings that this client uses."""
        return self._config

    @property
    def timeout_s(self) -> float:
        """The default time-out in seconds."""
        return self._timeout_s

    @property
    def all_hosts(self) -> bool:
        """Whether a wait fails while the daemon of a registered host is down, by default."""
        return self._all_hosts

    def token(self, conn: Any) -> str:  # noqa: ANN401 - psycopg's, SQLAlchemy's or any DB-API connection
        """Return the id of the transaction that `conn` is in. Pass it to `wait` after the commit.

        The server assigns an id if the transaction has none yet. `conn` is a connection of psycopg, of
        SQLAlchemy, or of any DB-API driver for PostgreSQL. Raises ConfigError if `conn` is in autocommit
        mode, or if it leads to another database than this client, provided that this client can reach its
        database.
        """
        token = transaction.token_of(conn)
        self._check_same_database(conn, token)
        return token

    def wait(
        self,
        token: str | int | None = None,
        timeout: float | None = None,
        *,
        all_hosts: bool | None = None,
    ) -> answers.WaitAnswer:
        """Wait until a transaction, or without a token everything committed so far, is published."""
        it = self._as_outcome(lambda: self._waited(token, timeout_s=timeout, all_hosts=all_hosts))
        return answers.wait_answer(it)

    @contextmanager
    def propagation(
        self,
        conn: Any,  # noqa: ANN401 - as for `token`
        *,
        all_hosts: bool | None = None,
    ) -> Iterator[Propagation]:
        """Commit what the block writes through `conn`, then wait for exactly that transaction.

        The answer is in `result`. If the block raises an exception, the transaction is rolled back, and there
        is no wait. If the block itself commits, the wait is for everything committed so far. Raises
        ConfigError before the block runs if `conn` is in autocommit mode (psycopg's is allowed: this opens
        the transaction), or if it leads to another database than this client. If the client's database cannot
        be reached at that time, the block runs, but the answer is no success.
        """
        outcome = Propagation()
        with transaction.committed(conn) as block:
            outcome.token = block.token
            check_failure = self._check_same_database(conn, block.token)
            yield outcome
        outcome.conclude(block, lambda token: self.wait(token, all_hosts=all_hosts))
        if check_failure and outcome.result["success"]:
            outcome.result = answers.wait_answer(answers.failed_by(check_failure, dry_run=False))

    def _check_same_database(self, conn: Any, token: str) -> OmnicdcError | None:  # noqa: ANN401 - as for `token`
        """Check that the transaction is open in this client's database.

        Returns the error if the check could not be made, else None. Raises ConfigError if the transaction is
        in another database, because there the same id means another transaction, or none.
        """
        pid = transaction.server_process(conn)
        try:
            with self._borrowed(min(self._timeout_s, CHECK_S)) as own_conn:
                elsewhere = is_elsewhere(own_conn, token, pid)
        except OmnicdcError as exc:
            return exc
        if elsewhere:
            raise elsewhere
        return None

    def explain(self, project: str, *, timeout: float | None = None) -> Explanation:
        """Explain a project, by UUID, name or CMP's key: where it is, why, and what is on its way.

        On another computer than a registry host, only the log and the consumers are explained. Nothing is
        written. `timeout` is how many seconds CMP may take to be reached. An error is an answer with
        `success: False`.
        """
        # Imported here, because most programs never call this.
        from omnicdc.answers.explain.answers import no_explanation  # noqa: PLC0415
        from omnicdc.answers.explain.reading import explain  # noqa: PLC0415

        try:
            with self._borrowed(self._limit_s(timeout)) as conn:
                return explain(conn, self._config, str(project))
        except OmnicdcError as exc:
            it = answers.failed_by(exc, dry_run=True)
            return no_explanation(str(it.error), it.hint)

    @staticmethod
    def as_json(answer: object) -> str:
        """Return an answer of a client as JSON text, exactly as the commands print it."""
        return as_json(answer)

    def close(self) -> None:
        """Give the shared connections back; the last client closes them. A repeat does nothing."""
        self._lease.close()

    def __enter__(self) -> Self:
        """Return the client. No connection is opened yet."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the client."""
        self.close()

    def _waited(
        self,
        token: str | int | None = None,
        *,
        names: Sequence[str] | None = None,
        timeout_s: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.Outcome:
        """Wait for a transaction or for projects by name. The time-out includes finding the names."""
        deadline = self._deadline(timeout_s)
        with self._borrowed(deadline - time.monotonic()) as conn:
            projects = None if names is None else waits.projects_named(conn, self._config, names)
        return answers.waited(self._verdict(token, deadline, projects=projects, all_hosts=all_hosts))

    def _rebuild(self, timeout_s: float | None, all_hosts: bool | None) -> answers.Outcome:
        deadline = self._deadline(timeout_s)
        self._progress("asking for a rebuild")
        with self._borrowed(deadline - time.monotonic()) as conn, db.translated("asking for a rebuild"):
            token = str(db.fetch_one(conn, "request_rebuild")["token"])
        verdict = self._verdict(token, deadline, all_hosts=all_hosts)
        if verdict.arrived:
            left_s = max(0.0, deadline - time.monotonic())
            self._progress("waiting until the inputs are current")
            verdict = wait_until_shown(self._lease.pool(), verdict, token, timeout_s=left_s, stop=Stop())
        it = answers.waited(verdict)
        if it.withheld is None:
            return it
        with (
            self._borrowed(self._timeout_s) as conn,
            db.translated("asking for the registries"),
            db.confined(conn),
        ):
            registries = {row["scanner"]: row["name"] for row in db.fetch_all(conn, "registries")}
        return answers.rebuilt(it, registries, it.withheld)

    def _would_change(self, names: Sequence[str] | None, timeout_s: float | None = None) -> answers.Outcome:
        self._config.require_output_directory()
        limit_s = self._limit_s(timeout_s)
        self._progress("comparing the registries of this host with CMP")
        inputs = verify.known_inputs(self._config)
        with self._borrowed(limit_s) as conn:
            return dry_run.would_change(conn, self._config, inputs, names)

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + self._limit_s(timeout_s)

    def _limit_s(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else seconds(timeout_s)

    def _verdict(
        self,
        token: str | int | None,
        deadline: float,
        *,
        projects: Sequence[str] | None = None,
        all_hosts: bool | None = None,
    ) -> Verdict:
        self._progress(waiting_for(token))
        return waits.wait(
            self._lease.pool(),
            token,
            timeout_s=max(0.0, deadline - time.monotonic()),
            stop=Stop(),
            projects=projects,
            all_hosts=self._all_hosts if all_hosts is None else all_hosts,
        )

    @contextmanager
    def _connected(self, timeout_s: float | None = None) -> Iterator[db.Connection]:
        """Open a connection of the call's own for the `with` block, after a check of the schema.

        With a time-out, queries end after it.
        """
        within_s = None if timeout_s is None else seconds(timeout_s)
        with db.connect(self._config.target, timeout_s=within_s) as conn:
            db.check_schema(conn)
            yield conn

    @contextmanager
    def _borrowed(self, within_s: float) -> Iterator[db.Connection]:
        """Borrow a connection from the pool for the `with` block, after a check of the schema."""
        with self._lease.pool().connection(max(within_s, SLICE_S)) as conn:
            db.check_schema(conn)
            yield conn

    def _as_outcome(self, call: Callable[[], answers.Outcome], *, dry_run: bool = False) -> answers.Outcome:
        """Return the result of `call`; turn an OmnicdcError into an outcome."""
        try:
            return call()
        except OmnicdcError as exc:
            return answers.failed_by(exc, dry_run=dry_run)


def waiting_for(token: str | int | None) -> str:
    """Return the line of progress for a wait."""
    return f"waiting for {'everything committed so far' if token is None else f'transaction {token}'}"
