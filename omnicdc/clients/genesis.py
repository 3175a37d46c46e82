"""The client that Genesis uses: it asks, waits and verifies. The work is the daemon's.

A failure is `success: False` with `error` and the verdict, never an exception, and never success for
work that was not done.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omnicdc import db, verify
from omnicdc.clients import answers, dry_run, transaction
from omnicdc.clients.names import no_names, one_root, texts
from omnicdc.clients.propagation import Propagation, is_elsewhere
from omnicdc.config import settings as configuration
from omnicdc.delivery import wait as waits
from omnicdc.delivery.connections import SLICE_S
from omnicdc.delivery.given import seconds
from omnicdc.delivery.inputs_state import wait_until_shown
from omnicdc.delivery.wait_pool import Lease
from omnicdc.errors import OmnicdcError
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from omnicdc.clients.answers import (
        BatchAnswer,
        Outcome,
        ProjectAnswer,
        RebuildAnswer,
        VerifyAnswer,
        WaitAnswer,
    )
    from omnicdc.config.settings import Config
    from omnicdc.delivery.verdict import Verdict

CHECK_S = 2.0
"""How long a writer's transaction may stay open while we ask whether the client's database is the same."""


class GenesisClient:
    """Waits for what Genesis wrote.

    Finds its connection as the command does: `dsn`, else OMNICDC_DSN, CMP_DB_*, PG*. All clients of a process
    that lead to one CMP share one connection that listens, and a few to look with, so a client may be shared
    by threads and there may be many. `close`, or the end of a `with`, gives them back; a call after that
    opens them again.
    """

    def __init__(
        self,
        dsn: str | os.PathLike[str] | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        omni_root: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
        all_hosts: bool = False,
        config: Config | None = None,
    ) -> None:
        """Raise ConfigError for settings that cannot be used; nothing is connected yet.

        `timeout` is in seconds. `omni_root` is `root`, and so is a path in the place of `dsn` (anything but
        text, or a text that begins with /): the constructor that Genesis has. With `all_hosts`, no answer is
        a success while a registered host is down.
        """
        if dsn is not None and (not isinstance(dsn, str) or dsn.startswith("/")):
            dsn, omni_root = None, one_root(dsn, omni_root)
        root = one_root(root, omni_root)
        flags = {"dsn": dsn, "root": None if root is None else os.fspath(root)}
        self._config = config or configuration.load(
            flags, os.environ, uid=os.getuid(), flag_name="GenesisClient({}=…)".format
        )
        self._timeout_s = seconds(timeout)
        self._all_hosts = all_hosts
        self._lease = Lease(self._config.target, self._config.wait_connections)
        self._finalizer = weakref.finalize(self, self._lease.abandon)

    def propagate_project(
        self, project_name: str | None = None, dry_run: bool = False, *, all_hosts: bool | None = None
    ) -> ProjectAnswer:
        """Wait until everything committed so far is published, as far as it concerns `project_name`.

        All projects of that name count. None: as far as it concerns any. `registries_updated` are the files
        that the generation rewrote which first held the last change. With `dry_run`: which registries are not
        up to date for it, without a wait.
        """
        names = None if project_name is None else [project_name]
        it = self._answer(names, dry_run=dry_run, all_hosts=all_hosts)
        return {
            **answers.wait_answer(it),
            "project": project_name
            if project_name is None or isinstance(project_name, str)
            else repr(project_name),
            "scanner_results": answers.scanner_results(it, verify.registry_names()),
            "details": it.details,
        }

    def propagate_batch(
        self, project_names: Sequence[str], dry_run: bool = False, *, all_hosts: bool | None = None
    ) -> BatchAnswer:
        """Wait once for all these projects; `count` and `projects` tell which.

        Otherwise as `propagate_project`.
        """
        # A text is a sequence of names as well, of one letter each.
        is_list = isinstance(project_names, Iterable) and not isinstance(project_names, (str, bytes))
        names = list(project_names) if is_list else []
        if not is_list:
            it = answers.failed_by(no_names(project_names), dry_run=dry_run)
        else:
            it = self._answer(names, dry_run=dry_run, all_hosts=all_hosts)
        return {
            **answers.wait_answer(it),
            "count": len(names),
            "projects": [name if isinstance(name, str) else repr(name) for name in names],
            "scanner_results": answers.scanner_results(it, verify.registry_names()),
            "details": it.details,
        }

    def rebuild_all_registries(
        self, dry_run: bool = False, *, all_hosts: bool | None = None
    ) -> RebuildAnswer:
        """Have every daemon scan everything and look at all inputs, publish what differs, and wait for it.

        `scanners_run` and `results` tell what ran, also where a project or a registry is held back.
        """
        it = self._guarded(
            lambda: self._would_change(None) if dry_run else self._rebuild(all_hosts), dry_run=dry_run
        )
        return answers.rebuild_answer(it, verify.registry_names())

    def verify_propagation(self, project_uuid: object) -> VerifyAnswer:
        """Compare the files with CMP for one project; needs no daemon, but this host's registries.

        `missing_from` are the checks that failed, `not_expected` those of registries that rightly do not hold
        it.
        """
        uuid = str(project_uuid)
        report = verify.Report(uuid, None, None, ())
        it = answers.Outcome(success=True)
        try:
            with self._looking(self._timeout_s) as conn:
                report = verify.verify_project(conn, self._config, *verify.known_inputs(self._config), uuid)
        except OmnicdcError as exc:
            it = answers.failed_by(exc, dry_run=False)
        return answers.verify_answer(it, report.as_dict())

    def token(self, conn: Any) -> str:  # noqa: ANN401 - psycopg's, SQLAlchemy's or any DB-API connection
        """Return the transaction that `conn` is in, to `wait` for after its commit.

        Assigns it an id if it has none yet. `conn` is a connection of psycopg, of SQLAlchemy, or of any
        DB-API driver for PostgreSQL. Raises ConfigError for one in autocommit mode, which is in no
        transaction, and for one to another database than this client's, unless the latter cannot be reached
        now.
        """
        token = transaction.token_of(conn)
        self._unchecked(conn, token)
        return token

    def wait(
        self,
        token: str | int | None = None,
        timeout: float | None = None,
        *,
        all_hosts: bool | None = None,
    ) -> WaitAnswer:
        """Wait until a transaction is published; without a token, everything committed so far."""
        it = self._guarded(lambda: self._waited(token, timeout_s=timeout, all_hosts=all_hosts))
        return answers.wait_answer(it)

    @contextmanager
    def propagation(
        self,
        conn: Any,  # noqa: ANN401 - as for `token`
        *,
        all_hosts: bool | None = None,
    ) -> Iterator[Propagation]:
        """Commit what the block writes through `conn`, then wait for exactly that transaction.

        The outcome is in `result`. An exception in the block rolls back, and there is no wait. A block that
        commits by itself is followed by a wait for everything committed so far. Raises ConfigError before the
        block runs for a connection in autocommit mode (psycopg's excepted: there the transaction is opened
        here), and for one to another database than this client's. If the latter cannot be reached at that
        time, the block runs, and is no success.
        """
        outcome = Propagation()
        with transaction.committed(conn) as block:
            outcome.token = block.token
            unchecked = self._unchecked(conn, block.token)
            yield outcome
        outcome.conclude(block, lambda token: self.wait(token, all_hosts=all_hosts))
        if unchecked and outcome.result["success"]:
            outcome.result = answers.wait_answer(answers.failed_by(unchecked, dry_run=False))

    def _unchecked(self, conn: Any, token: str) -> OmnicdcError | None:  # noqa: ANN401 - as for `token`
        """Check that a transaction is open in this client's database; returns why that could not be checked.

        Raises ConfigError if it is open elsewhere: there, an id means another transaction, or none.
        """
        pid = transaction.server_process(conn)
        try:
            with self._looking(min(self._timeout_s, CHECK_S)) as looking:
                elsewhere = is_elsewhere(looking, token, pid)
        except OmnicdcError as exc:
            return exc
        if elsewhere:
            raise elsewhere
        return None

    def close(self) -> None:
        """Give the shared connections back; the last client closes them. A repeat does nothing."""
        self._lease.close()

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close."""
        self.close()

    def _answer(self, names: Sequence[object] | None, *, dry_run: bool, all_hosts: bool | None) -> Outcome:
        def ask() -> Outcome:
            projects = None if names is None else texts(names)
            if dry_run:
                return self._would_change(projects)
            return self._waited(names=projects, all_hosts=all_hosts)

        return self._guarded(ask, dry_run=dry_run)

    def _waited(
        self,
        token: str | int | None = None,
        *,
        names: Sequence[str] | None = None,
        timeout_s: float | None = None,
        all_hosts: bool | None = None,
    ) -> Outcome:
        """Wait, without a connection of its own; what is asked first takes its part of the time."""
        deadline = self._deadline(timeout_s)
        with self._looking(deadline - time.monotonic()) as conn:
            projects = None if names is None else waits.projects_named(conn, self._config.table, names)
        return answers.waited(self._verdict(token, deadline, projects=projects, all_hosts=all_hosts))

    def _rebuild(self, all_hosts: bool | None) -> Outcome:
        deadline = self._deadline(None)
        with self._looking(self._timeout_s) as conn, db.translated("asking for a rebuild"):
            token = str(db.fetch_one(conn, "request_rebuild")["token"])
        verdict = self._verdict(token, deadline, all_hosts=all_hosts)
        if verdict.arrived:
            left_s = max(0.0, deadline - time.monotonic())
            verdict = wait_until_shown(self._lease.pool(), verdict, token, timeout_s=left_s, stop=Stop())
        return answers.waited(verdict)

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self._timeout_s if timeout_s is None else seconds(timeout_s))

    def _verdict(
        self,
        token: str | int | None,
        deadline: float,
        *,
        projects: Sequence[str] | None = None,
        all_hosts: bool | None = None,
    ) -> Verdict:
        return waits.wait(
            self._lease.pool(),
            token,
            timeout_s=max(0.0, deadline - time.monotonic()),
            stop=Stop(),
            projects=projects,
            all_hosts=self._all_hosts if all_hosts is None else all_hosts,
        )

    def _would_change(self, names: Sequence[str] | None) -> Outcome:
        self._config.require_root_directory()
        inputs = verify.known_inputs(self._config)
        with self._looking(self._timeout_s) as conn:
            return dry_run.would_change(conn, self._config, inputs, names)

    @contextmanager
    def _looking(self, within_s: float) -> Iterator[db.Connection]:
        """Borrow a connection to a database that has our schema."""
        with self._lease.pool().connection(max(within_s, SLICE_S)) as conn:
            db.check_schema(conn)
            yield conn

    def _guarded(self, ask: Callable[[], Outcome], *, dry_run: bool = False) -> Outcome:
        """Ask; what fails becomes an outcome."""
        try:
            return ask()
        except OmnicdcError as exc:
            return answers.failed_by(exc, dry_run=dry_run)
