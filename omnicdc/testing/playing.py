"""What each method of a recorded client does, for the one with threads and the one for asyncio alike."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from omnicdc import verify
from omnicdc.clients import answers
from omnicdc.clients.names import names_of, no_names
from omnicdc.clients.propagation import Propagation
from omnicdc.config.settings import Config
from omnicdc.testing.plays import Plays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omnicdc.answers.explain.answers import Explanation
    from omnicdc.clients.answers import Outcome


class Playing(Plays):
    """Records a call, and builds its answer from what is played next."""

    def _play_project(
        self, project_name: str | None, *, dry_run: bool, **rest: object
    ) -> answers.ProjectAnswer:
        self._record("propagate_project", project_name=project_name, dry_run=dry_run, **rest)
        it = self._play_either("propagate_project", dry_run=dry_run)
        return answers.project_answer(it, project_name, verify.genesis_names())

    def _play_batch(
        self, project_names: Sequence[str], *, dry_run: bool, **rest: object
    ) -> answers.BatchAnswer:
        names = names_of(project_names)
        self._record("propagate_batch", project_names=names or project_names, dry_run=dry_run, **rest)
        if names is None:  # the real client would fail, whatever CMP has
            it = answers.failed_by(no_names(project_names), dry_run=dry_run)
        else:
            it = self._play_either("propagate_batch", dry_run=dry_run)
        return answers.batch_answer(it, names or [], verify.genesis_names())

    def _play_rebuild(self, *, dry_run: bool, **rest: object) -> answers.RebuildAnswer:
        self._record("rebuild_all_registries", dry_run=dry_run, **rest)
        it = self._play_either("rebuild_all_registries", dry_run=dry_run)
        if not dry_run and it.withheld is not None:
            it = answers.rebuilt(it, verify.registry_names(Config()), it.withheld)
        return answers.rebuild_answer(it)

    def _play_verification(self, project_uuid: object, **rest: object) -> answers.VerifyAnswer:
        self._record("verify_propagation", project_uuid=project_uuid, **rest)
        return self._next_verification(str(project_uuid))

    def _play_explanation(self, project: str, **rest: object) -> Explanation:
        self._record("explain", project=project, **rest)
        return self._next_explanation()

    def _play_token(self, conn: object) -> str:
        self._record("token", conn=conn)
        return self._new_token()

    def _play_wait(self, token: str | int | None, **rest: object) -> answers.WaitAnswer:
        self._record("wait", token=token, **rest)
        return answers.wait_answer(self._play_verdict("wait", token))

    @contextmanager
    def _play_propagation(self, conn: object, **rest: object) -> Iterator[Propagation]:
        self._record("propagation", conn=conn, **rest)
        outcome = Propagation()
        outcome.token = token = self._new_token()
        try:
            yield outcome
        except BaseException:
            self.rolled_back.append(token)
            raise
        outcome.result = answers.wait_answer(self._play_verdict("propagation", token))

    def _play_verdict(self, method: str, token: str | int | None = None) -> Outcome:
        it = self._next("verdict", method)
        return it if token is None or it.verdict == "unavailable" else replace(it, token=str(token))

    def _play_either(self, method: str, *, dry_run: bool) -> Outcome:
        return self._next("dry run", method) if dry_run else self._play_verdict(method)
