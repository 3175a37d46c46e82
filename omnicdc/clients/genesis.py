"""The client that Genesis uses: it requests, waits and verifies. The daemon publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import verify
from omnicdc.clients import answers
from omnicdc.clients.client import Client
from omnicdc.clients.names import names_of, no_names, one_root, texts
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Unpack

    from omnicdc.clients.options import ClientOptions


class GenesisClient(Client):
    """Waits until the registries show what Genesis wrote."""

    def __init__(
        self,
        dsn: str | os.PathLike[str] | None = None,
        *,
        omni_root: str | os.PathLike[str] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        """As for every client: see `Client`. Raises ConfigError for invalid settings.

        `omni_root` is another name of `root`. Genesis passes the root as the first argument: so if `dsn` is
        not text, or is text that begins with /, it is taken as the root.
        """
        if dsn is not None and (not isinstance(dsn, str) or dsn.startswith("/")):
            dsn, omni_root = None, one_root(dsn, omni_root)
        options["root"] = one_root(options.get("root"), omni_root)
        super().__init__(dsn, **options)

    def propagate_project(
        self,
        project_name: str | None = None,
        dry_run: bool = False,
        *,
        timeout: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.ProjectAnswer:
        """Wait until everything committed so far that concerns `project_name` is published.

        All projects of that name count. With None, every project counts. `registries_updated` names the files
        that were rewritten by the first generation that holds the last change. `timeout` is in seconds; by
        default it is the client's. With `dry_run`, this does not wait; `registries_updated` names the files
        that are not up to date for the project.
        """
        names = None if project_name is None else [project_name]
        it = self._answer(names, dry_run=dry_run, timeout_s=timeout, all_hosts=all_hosts)
        return answers.project_answer(it, project_name, verify.genesis_names())

    def propagate_batch(
        self,
        project_names: Sequence[str],
        dry_run: bool = False,
        *,
        timeout: float | None = None,
        all_hosts: bool | None = None,
    ) -> answers.BatchAnswer:
        """Wait once for all projects with these names, as `propagate_project` does for one.

        `count` and `projects` in the answer repeat the argument.
        """
        names = names_of(project_names)
        if names is None:
            it = answers.failed_by(no_names(project_names), dry_run=dry_run)
        else:
            it = self._answer(names, dry_run=dry_run, timeout_s=timeout, all_hosts=all_hosts)
        return answers.batch_answer(it, names or [], verify.genesis_names())

    def rebuild_all_registries(
        self, dry_run: bool = False, *, timeout: float | None = None, all_hosts: bool | None = None
    ) -> answers.RebuildAnswer:
        """Make every daemon scan everything, refresh all inputs and publish what differs, and wait for it.

        `scanners_run` and `results` are also filled if a project is in quarantine or a registry is held.
        """
        it = self._as_outcome(
            lambda: self._would_change(None, timeout) if dry_run else self._rebuild(timeout, all_hosts),
            dry_run=dry_run,
        )
        return answers.rebuild_answer(it)

    def verify_propagation(
        self, project_uuid: object, *, timeout: float | None = None
    ) -> answers.VerifyAnswer:
        """Compare the files on this host with CMP for one project. This needs no daemon.

        `missing_from` names the checks that failed. `not_expected` names the checks of the registries that
        correctly do not contain the project.
        """
        uuid = str(project_uuid)
        report = verify.Report(uuid, None, None, ())
        it = answers.Outcome(success=True)
        try:
            limit_s = self._limit_s(timeout)
            self._progress(f"verifying {uuid}")
            with self._borrowed(limit_s) as conn:
                report = verify.verify_project(conn, self._config, *verify.known_inputs(self._config), uuid)
        except OmnicdcError as exc:
            it = answers.failed_by(exc, dry_run=False)
        return answers.verify_answer(it, report.as_dict())

    def _answer(
        self,
        names: Sequence[object] | None,
        *,
        dry_run: bool,
        timeout_s: float | None,
        all_hosts: bool | None,
    ) -> answers.Outcome:
        def call() -> answers.Outcome:
            projects = None if names is None else texts(names)
            if dry_run:
                return self._would_change(projects, timeout_s)
            return self._waited(names=projects, timeout_s=timeout_s, all_hosts=all_hosts)

        return self._as_outcome(call, dry_run=dry_run)
