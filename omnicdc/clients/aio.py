"""GenesisClient for asyncio: the same methods and answers. A wait costs no thread."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from omnicdc import verify
from omnicdc.clients import answers, async_transaction
from omnicdc.clients.client import CHECK_S, waiting_for
from omnicdc.clients.genesis import GenesisClient
from omnicdc.clients.names import names_of, no_names, texts
from omnicdc.clients.propagation import Propagation, elsewhere
from omnicdc.db.conninfo import describe_dsn
from omnicdc.delivery import observing, wait_async
from omnicdc.delivery.asking import one, rows
from omnicdc.delivery.async_pool import AsyncLease
from omnicdc.delivery.given import seconds
from omnicdc.errors import OmnicdcError
from omnicdc.filesystem.atomic import no_observer
from omnicdc.formats.answer import as_json
from omnicdc.registries.tables import qualified

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from typing import Self, Unpack

    from omnicdc.answers.explain.answers import Explanation
    from omnicdc.clients.answers import Outcome
    from omnicdc.clients.options import ClientOptions


class AsyncGenesisClient:
    """Waits until the registries show what Genesis wrote.

    All clients of an event loop with the same target share two connections: one that listens, and one that
    asks. `close`, or the end of an `async with` block, gives them back; a later call reopens them. What reads
    files (`verify_propagation`, `dry_run`) runs in a thread.
    """

    def __init__(
        self,
        dsn: str | os.PathLike[str] | None = None,
        *,
        omni_root: str | os.PathLike[str] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        """Read the settings, as GenesisClient does; connect nothing yet.

        `progress` is called in the event loop's thread, and in another one by what reads files.
        """
        self._files = GenesisClient(dsn, omni_root=omni_root, **options)
        self._config = self._files.config
        self._progress = options.get("progress", no_observer)
        self._lease = AsyncLease(self._config.target)

    async def propagate_project(
        self,
        project_name: str | None = None,
        dry_run: bool = False,
        *,
        timeout: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.ProjectAnswer:
        """As `GenesisClient.propagate_project`."""
        if dry_run:
            return await asyncio.to_thread(
                self._files.propagate_project, project_name, dry_run=True, timeout=timeout
            )
        names = None if project_name is None else [project_name]
        it = await self._outcome(self._waited(names=names, timeout_s=timeout, all_hosts=all_hosts))
        return answers.project_answer(it, project_name, verify.genesis_names())

    async def propagate_batch(
        self,
        project_names: Sequence[str],
        dry_run: bool = False,
        *,
        timeout: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.BatchAnswer:
        """As `GenesisClient.propagate_batch`."""
        if dry_run:
            return await asyncio.to_thread(
                self._files.propagate_batch, project_names, dry_run=True, timeout=timeout
            )
        names = names_of(project_names)
        if names is None:
            it = answers.failed_by(no_names(project_names), dry_run=dry_run)
        else:
            it = await self._outcome(self._waited(names=names, timeout_s=timeout, all_hosts=all_hosts))
        return answers.batch_answer(it, names or [], verify.genesis_names())

    async def rebuild_all_registries(
        self, dry_run: bool = False, *, timeout: float | None = None, all_hosts: bool | None = None
    ) -> answers.RebuildAnswer:
        """As `GenesisClient.rebuild_all_registries`."""
        if dry_run:
            return await asyncio.to_thread(self._files.rebuild_all_registries, dry_run=True, timeout=timeout)
        return answers.rebuild_answer(await self._outcome(self._rebuilt(timeout, all_hosts)))

    async def verify_propagation(
        self, project_uuid: object, *, timeout: float | None = None
    ) -> answers.VerifyAnswer:
        """As `GenesisClient.verify_propagation`, in a thread."""
        return await asyncio.to_thread(self._files.verify_propagation, project_uuid, timeout=timeout)

    async def explain(self, project: str, *, timeout: float | None = None) -> Explanation:
        """As `GenesisClient.explain`, in a thread."""
        return await asyncio.to_thread(self._files.explain, project, timeout=timeout)

    async def token(self, conn: Any) -> str:  # noqa: ANN401 - psycopg's, asyncpg's or SQLAlchemy's
        """Return the id of the transaction that `conn` is in. Pass it to `wait` after the commit.

        `conn` is a connection of psycopg, asyncpg or SQLAlchemy for asyncio, or a session of SQLAlchemy.
        Raises ConfigError as `GenesisClient.token` does.
        """
        token = await async_transaction.token_of(conn)
        await self._check_same_database(conn, token)
        return token

    async def wait(
        self,
        token: str | int | None = None,
        timeout: float | None = None,
        *,
        all_hosts: bool | None = None,
    ) -> answers.WaitAnswer:
        """Wait until a transaction, or without a token everything committed so far, is published."""
        it = await self._outcome(self._waited(token, timeout_s=timeout, all_hosts=all_hosts))
        return answers.wait_answer(it)

    @asynccontextmanager
    async def propagation(
        self,
        conn: Any,  # noqa: ANN401 - as for `token`
        *,
        all_hosts: bool | None = None,
    ) -> AsyncIterator[Propagation]:
        """Commit what the block writes through `conn`, then wait for exactly that transaction.

        The answer is in `result`. See `GenesisClient.propagation`.
        """
        outcome = Propagation()
        async with async_transaction.committed(conn) as block:
            outcome.token = block.token
            failure = await self._check_same_database(conn, block.token)
            yield outcome
        waits = outcome.concluding(block)
        token = next(waits)
        while True:
            answer = await self.wait(token, all_hosts=all_hosts)
            try:
                token = waits.send(answer)
            except StopIteration:
                break
        if failure and outcome.result["success"]:
            outcome.result = answers.wait_answer(answers.failed_by(failure, dry_run=False))

    @staticmethod
    def as_json(answer: object) -> str:
        """Return an answer of a client as JSON text, exactly as the commands print it."""
        return as_json(answer)

    async def close(self) -> None:
        """Give the shared connections back; the last client closes them. A repeat does nothing."""
        self._files.close()
        await self._lease.close()

    async def __aenter__(self) -> Self:
        """Return the client. No connection is opened yet."""
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close the client."""
        await self.close()

    async def _check_same_database(self, conn: Any, token: str) -> OmnicdcError | None:  # noqa: ANN401
        """Check that the transaction is open in this client's database: see `Client`."""
        pid = await async_transaction.server_process(conn)
        within_s = min(self._files.timeout_s, CHECK_S)
        try:
            pool = self._lease.pool()
            found = await pool.ask(elsewhere(self._described(), token, pid), within_s)
        except OmnicdcError as exc:
            return exc
        if found:
            raise found
        return None

    async def _waited(
        self,
        token: str | int | None = None,
        *,
        names: Sequence[object] | None = None,
        timeout_s: float | None = None,
        all_hosts: bool | None = None,
    ) -> Outcome:
        limit_s = self._files.timeout_s if timeout_s is None else seconds(timeout_s)
        end, pool = time.monotonic() + limit_s, self._lease.pool()
        projects = None
        if names is not None:
            table = self._config.table_of("projects")
            found = await pool.ask(
                one("resolve", {"table": qualified(table).as_string()}), limit_s, confined=False
            )
            projects = await pool.ask(
                observing.named(qualified(found["target"] or table), texts(names)), limit_s
            )
        self._progress(waiting_for(token))
        verdict = await wait_async.wait(
            pool,
            token,
            timeout_s=max(0.0, end - time.monotonic()),
            projects=projects,
            all_hosts=self._files.all_hosts if all_hosts is None else all_hosts,
        )
        return answers.waited(verdict)

    async def _rebuilt(self, timeout_s: float | None, all_hosts: bool | None) -> Outcome:
        limit_s = self._files.timeout_s if timeout_s is None else seconds(timeout_s)
        end, pool = time.monotonic() + limit_s, self._lease.pool()
        self._progress("asking for a rebuild")
        asked = await pool.ask(one("request_rebuild"), limit_s, confined=False)
        token = str(asked["token"])
        self._progress(waiting_for(token))
        verdict = await wait_async.wait(
            pool,
            token,
            timeout_s=max(0.0, end - time.monotonic()),
            all_hosts=self._files.all_hosts if all_hosts is None else all_hosts,
        )
        if verdict.arrived:
            left_s = max(0.0, end - time.monotonic())
            self._progress("waiting until the inputs are current")
            verdict = await wait_async.wait_until_shown(pool, verdict, token, timeout_s=left_s)
        it = answers.waited(verdict)
        if it.withheld is None:
            return it
        found = await pool.ask(rows("registries"), limit_s)
        return answers.rebuilt(it, {row["scanner"]: row["name"] for row in found}, it.withheld)

    def _described(self) -> str:
        return describe_dsn(self._config.target.assembled(None).conninfo)

    async def _outcome(self, call: Awaitable[Outcome]) -> Outcome:
        """Return the result of `call`; turn an OmnicdcError into an outcome."""
        try:
            return await call
        except OmnicdcError as exc:
            return answers.failed_by(exc, dry_run=False)
