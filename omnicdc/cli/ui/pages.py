"""The pages for reading: the overview, the search, a project. `registry_pages` has those of registries."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from starlette.responses import HTMLResponse, RedirectResponse

from omnicdc import db
from omnicdc.answers.explain import explain
from omnicdc.cli.ui import views
from omnicdc.cli.ui.chart import duration
from omnicdc.cli.ui.live import CONNECT_S, LOOK_S, READ_S, State
from omnicdc.cli.ui.reading import FOUND, read, search
from omnicdc.errors import ConfigError, OmnicdcError, TransientError
from omnicdc.verify.expectation import is_uuid
from omnicdc.verify.report import RIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from starlette.requests import Request
    from starlette.responses import Response

    from omnicdc.answers.explain.answers import Explanation
    from omnicdc.cli.ui.live import Board
    from omnicdc.cli.ui.reading import Reading
    from omnicdc.cli.ui.show import Show
    from omnicdc.cli.ui.work import Workers
    from omnicdc.config.settings import Config
    from omnicdc.delivery.lender import Lender

T = TypeVar("T")

FRESH_S = 2.0 * LOOK_S
"""A reading of the reader that is not older is shown again."""

HEAVY_S = 30.0
"""The longest time for comparing files with CMP, in seconds."""


class NotFound(OmnicdcError):  # noqa: N818 - named for the state, as DatabaseUnavailable
    """There is no such page, project or registry."""


class Desk:
    """What the pages share: the configuration, the connections, the threads and the templates."""

    def __init__(self, config: Config, board: Board, workers: Workers, lender: Lender, show: Show) -> None:
        """Store the arguments."""
        self.config, self.board, self.workers = config, board, workers
        self._lender, self.show = lender, show
        self._events: dict[bool, tuple[int, str]] = {}
        """Whether it is the whole overview, to the newest version and its message."""

    def event(self, version: int, whole: bool, make: Callable[[], str]) -> str:
        """Return the message of a version. It is made once for all browsers."""
        if self._events.get(whole, (0, ""))[0] != version:
            self._events[whole] = version, make()
        return self._events[whole][1]

    async def ask(self, key: Hashable, question: Callable[[db.Connection], T], limit_s: float = READ_S) -> T:
        """Return the answer to a question that needs a connection to CMP, from one of the threads."""

        def work() -> T:
            with self._lender.connection(min(CONNECT_S, limit_s)) as conn:
                # The lender's deadline is for the connection alone.
                conn.deadline = time.monotonic() + limit_s
                db.check_schema(conn)
                return question(conn)

        return await self.workers.run(key, work, limit_s)

    async def look(self, key: Hashable, question: Callable[[], T], limit_s: float = READ_S) -> T:
        """Return the answer to a question that needs only this host's files, from one of the threads."""
        return await self.workers.run(key, question, limit_s)

    async def state(self) -> tuple[State, Reading]:
        """Return the state of the estate, and its reading: the reader's, if it is current, or else a new one.

        If CMP does not answer, it is the last reading, with the fault. Without any, the fault is raised.
        """
        known = self.board.state
        current = self.board.reads and not known.error
        if current and known.reading and _age_s(known.reading) < FRESH_S:
            return State(known.reading), known.reading

        def question(conn: db.Connection) -> Reading:
            return read(conn, self.config).after(self.board.state.reading)

        try:
            made = await self.ask("overview", question)
        except TransientError as exc:
            failed = self.board.fail(exc)
            if failed.reading is None:
                raise
            return failed, failed.reading
        self.board.note(made)
        return State(made), made

    def page(
        self,
        template: str,
        state: State,
        status: int = 200,
        headers: dict[str, str] | None = None,
        **values: object,
    ) -> Response:
        """Return a page. `state` is what its first line shows of the whole estate."""
        text = self.show(
            template,
            strip=strip(state),
            stale=stale(state),
            mark=state.reading.mark if state.reading else "",
            current=template.removesuffix(".html"),
            **values,
        )
        return HTMLResponse(text, status, headers)


def strip(state: State) -> dict[str, object]:
    """Return what the first line of each page shows."""
    badge = views.health(state.reading.status) if state.reading else views.Badge("not known", "idle")
    return {
        "badge": badge,
        "at": state.reading.at if state.reading else None,
        "lost_since": state.lost_since,
        "error": str(state.error) if state.error else "",
    }


def stale(state: State) -> views.Stale | None:
    """Return what a page says if it shows an earlier reading, because CMP did not answer."""
    if state.reading is None or state.error is None:
        return None
    age = duration(_age_s(state.reading) * 1000)
    return views.Stale(state.reading.at, age, state.error.message, state.error.hint)


def _age_s(reading: Reading) -> float:
    return (datetime.now(UTC) - reading.at).total_seconds()


async def overview(desk: Desk, _request: Request) -> Response:
    """Return the first page."""
    state, reading = await desk.state()
    view = views.overview(reading, max_lag_s=desk.config.max_lag_s)
    return desk.page("overview.html", state, view=view)


async def projects(desk: Desk, request: Request) -> Response:
    """Return the projects that a text names; if it names one exactly, lead to its page."""
    text = request.query_params.get("q", "").strip()
    if not text:
        state, _ = await desk.state()
        return desk.page("projects.html", state, text="", found=[], more=False)
    if is_uuid(text):
        return RedirectResponse(project_path(text.lower()), 303)
    if "\0" in text:
        raise NotFound("no project can be named so", hint="a name has no NUL byte")
    (state, _), found = await asyncio.gather(
        desk.state(), desk.ask(("search", text), lambda conn: search(conn, desk.config, text))
    )
    exact = [row for row in found if text in {row["name"], row["key"]}]
    if len(exact) == 1 or len(found) == 1:
        return RedirectResponse(project_path((exact or found)[0]["id"]), 303)
    return desk.page(
        "projects.html",
        state,
        200 if found else 404,
        text=text,
        found=found[:FOUND],
        more=len(found) > FOUND,
    )


async def project(desk: Desk, request: Request) -> Response:
    """Return what is known of one project: CMP beside each registry, and its changes."""
    key = request.path_params["key"]
    (state, _), found = await asyncio.gather(
        desk.state(),
        desk.ask(("project", key), lambda conn: _explained(conn, desk.config, key), HEAVY_S),
    )
    return desk.page("project.html", state, found=found)


def _explained(conn: db.Connection, config: Config, key: str) -> Explanation:
    try:
        found = explain(conn, config, key)
    except ConfigError as exc:
        raise NotFound(exc.message, hint=exc.hint) from exc
    strays = [one for one in found["registries"] if one["status"] not in RIGHT]
    if found["in_cmp"] is False and not found["changes"] and not strays:
        raise NotFound(
            f"no project {key!r:.100}: neither CMP, the registries nor the log have it",
            hint="is its transaction committed? search for its name",
        )
    return found


def project_path(key: str) -> str:
    """Return the address of a project's page."""
    return f"/projects/{quote(key, safe='')}"
