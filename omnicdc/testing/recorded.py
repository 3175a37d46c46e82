"""Clients without a database, for unit tests. They answer what the test plays, and refuse anything else."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from omnicdc.clients.aio import AsyncGenesisClient
from omnicdc.clients.genesis import GenesisClient
from omnicdc.config.settings import Config
from omnicdc.testing.playing import Playing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from omnicdc.answers.explain.answers import Explanation
    from omnicdc.clients import answers
    from omnicdc.clients.propagation import Propagation


class RecordedGenesisClient(Playing, GenesisClient):
    """Has the methods of GenesisClient, and answers with the verdicts that the test plays.

    It connects nothing and reads no settings. `token` and `propagation` accept any object as a connection, or
    None. They do not use it: nothing is committed or rolled back.
    """

    def __init__(self) -> None:
        Playing.__init__(self)  # and not that of GenesisClient, which reads settings

    @property
    def config(self) -> Config:
        """The default settings."""
        return Config()

    @property
    def timeout_s(self) -> float:
        """The default time-out in seconds."""
        return 30.0

    @property
    def all_hosts(self) -> bool:
        """Always false."""
        return False

    def propagate_project(
        self,
        project_name: str | None = None,
        dry_run: bool = False,
        *,
        timeout: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.ProjectAnswer:
        """Play the next verdict, or the next dry run."""
        return self._play_project(project_name, dry_run=dry_run, timeout=timeout, all_hosts=all_hosts)

    def propagate_batch(
        self,
        project_names: Sequence[str],
        dry_run: bool = False,
        *,
        timeout: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.BatchAnswer:
        """Play the next verdict, or the next dry run."""
        return self._play_batch(project_names, dry_run=dry_run, timeout=timeout, all_hosts=all_hosts)

    def rebuild_all_registries(
        self, dry_run: bool = False, *, timeout: float | None = None, all_hosts: bool | None = None
    ) -> answers.RebuildAnswer:
        """Play the next verdict, or the next dry run."""
        return self._play_rebuild(dry_run=dry_run, timeout=timeout, all_hosts=all_hosts)

    def verify_propagation(
        self, project_uuid: object, *, timeout: float | None = None
    ) -> answers.VerifyAnswer:
        """Play the next verification."""
        return self._play_verification(project_uuid, timeout=timeout)

    def explain(self, project: str, *, timeout: float | None = None) -> Explanation:
        """Play the next explanation."""
        return self._play_explanation(project, timeout=timeout)

    def token(self, conn: Any) -> str:  # noqa: ANN401 - any object, or None
        """Return an invented token. The connection is not used."""
        return self._play_token(conn)

    def wait(
        self,
        token: str | int | None = None,
        timeout: float | None = None,
        *,
        all_hosts: bool | None = None,
    ) -> answers.WaitAnswer:
        """Play the next verdict."""
        return self._play_wait(token, timeout=timeout, all_hosts=all_hosts)

    @contextmanager
    def propagation(
        self,
        conn: Any,  # noqa: ANN401 - as for `token`
        *,
        all_hosts: bool | None = None,
    ) -> Iterator[Propagation]:
        """Run the block, then play the next verdict. If the block raises, add its token to `rolled_back`."""
        with self._play_propagation(conn, all_hosts=all_hosts) as outcome:
            yield outcome

    def close(self) -> None:
        """Do nothing."""


class RecordedAsyncGenesisClient(Playing, AsyncGenesisClient):
    """As RecordedGenesisClient, with the methods of AsyncGenesisClient."""

    def __init__(self) -> None:
        Playing.__init__(self)  # and not that of AsyncGenesisClient, which reads settings

    async def propagate_project(
        self,
        project_name: str | None = None,
        dry_run: bool = False,
        *,
        timeout: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.ProjectAnswer:
        """Play the next verdict, or the next dry run."""
        return self._play_project(project_name, dry_run=dry_run, timeout=timeout, all_hosts=all_hosts)

    async def propagate_batch(
        self,
        project_names: Sequence[str],
        dry_run: bool = False,
        *,
        timeout: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.BatchAnswer:
        """Play the next verdict, or the next dry run."""
        return self._play_batch(project_names, dry_run=dry_run, timeout=timeout, all_hosts=all_hosts)

    async def rebuild_all_registries(
        self, dry_run: bool = False, *, timeout: float | None = None, all_hosts: bool | None = None
    ) -> answers.RebuildAnswer:
        """Play the next verdict, or the next dry run."""
        return self._play_rebuild(dry_run=dry_run, timeout=timeout, all_hosts=all_hosts)

    async def verify_propagation(
        self, project_uuid: object, *, timeout: float | None = None
    ) -> answers.VerifyAnswer:
        """Play the next verification."""
        return self._play_verification(project_uuid, timeout=timeout)

    async def explain(self, project: str, *, timeout: float | None = None) -> Explanation:
        """Play the next explanation."""
        return self._play_explanation(project, timeout=timeout)

    async def token(self, conn: Any) -> str:  # noqa: ANN401 - any object, or None
        """Return an invented token. The connection is not used."""
        return self._play_token(conn)

    async def wait(
        self,
        token: str | int | None = None,
        timeout: float | None = None,
        *,
        all_hosts: bool | None = None,
    ) -> answers.WaitAnswer:
        """Play the next verdict."""
        return self._play_wait(token, timeout=timeout, all_hosts=all_hosts)

    @asynccontextmanager
    async def propagation(
        self,
        conn: Any,  # noqa: ANN401 - as for `token`
        *,
        all_hosts: bool | None = None,
    ) -> AsyncIterator[Propagation]:
        """Run the block, then play the next verdict. If the block raises, add its token to `rolled_back`."""
        with self._play_propagation(conn, all_hosts=all_hosts) as outcome:
            yield outcome

    async def close(self) -> None:
        """Do nothing."""
