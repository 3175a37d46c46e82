"""The web application: its routes, the event stream, the login, and the pages for errors."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from omnicdc.cli.ui import pages, registry_pages, views
from omnicdc.cli.ui.access import COOKIE, LOGIN, Access, Refusal, is_token
from omnicdc.cli.ui.gate import Gate
from omnicdc.cli.ui.live import Board, State
from omnicdc.cli.ui.pages import Desk, NotFound, stale, strip
from omnicdc.cli.ui.show import TYPES, Show
from omnicdc.cli.ui.work import TooSlow, Workers
from omnicdc.delivery.lender import Lender
from omnicdc.errors import DatabaseUnavailable, OmnicdcError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Scope

    from omnicdc.config.settings import Config

CONNECTIONS = 3
"""So many connections to CMP serve the pages, beside the one of the reader. Unused ones are closed."""

KEEP_ALIVE_S = 15.0
"""An event stream in which nothing happens gets an empty line after so many seconds, which finds out whether
the browser is still there."""

LONGEST_FORM = 8192
COOKIE_S = 12 * 3600


def application(config: Config, access: Access, board: Board) -> ASGIApp:
    """Return the application. Connections are opened when they are needed first."""
    lender = Lender(config.target, CONNECTIONS)
    desk = Desk(config, board, Workers(CONNECTIONS), lender, Show())

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        board.close()
        await asyncio.to_thread(lender.close)

    routes = [
        Route("/", _page(desk, pages.overview)),
        Route("/projects", _page(desk, pages.projects)),
        Route("/projects/{key:path}", _page(desk, pages.project)),
        Route("/registries/{name}", _page(desk, registry_pages.registry)),
        Route("/registries/{name}/difference", _page(desk, registry_pages.difference)),
        Route("/guard", _page(desk, registry_pages.guard)),
        Route("/events", _page(desk, events)),
        Route("/static/{name}", _page(desk, static)),
        Route(
            LOGIN, _page(desk, lambda desk, request: login(desk, request, access)), methods=["GET", "POST"]
        ),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.add_exception_handler(HTTPException, partial(_http_error, desk))
    app.add_exception_handler(Exception, partial(_unexpected, desk))
    return Gate(app, access, lambda refusal, scope: _refused(desk, refusal, scope))


def _page(
    desk: Desk, page: Callable[[Desk, Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await page(desk, request)
        except OmnicdcError as exc:
            return error_page(desk, exc)

    return answer


def status_of(exc: OmnicdcError) -> int:
    """Return the status code for an error."""
    if isinstance(exc, NotFound):
        return 404
    if isinstance(exc, TooSlow):
        return 504
    return 503 if isinstance(exc, TransientError) else 500


TITLES = {
    401: "Log in", 403: "Not admitted", 404: "Not found", 405: "This page only reads",
    421: "Another name is expected", 500: "It cannot be shown", 503: "Not available now", 504: "Too slow",
}  # fmt: skip


def error_page(desk: Desk, exc: OmnicdcError, status: int | None = None) -> Response:
    """Return an error as a page: the cause, the place and the remedy."""
    code = status or status_of(exc)
    unavailable = code == 503  # noqa: PLR2004 - not available now
    hint = "; ".join(filter(None, ["reload this page" if exc.again else "", exc.hint]))
    state = desk.board.fail(exc) if isinstance(exc, DatabaseUnavailable) else desk.board.state
    return desk.page(
        "error.html",
        State(state.reading, None, state.lost_since),
        code,
        {"Retry-After": "5"} if unavailable else None,
        code=code,
        title=TITLES.get(code, "It failed"),
        reason=exc.message,
        hint=hint,
        reload=unavailable and not exc.again,
        asks=code != 404,  # noqa: PLR2004 - not found
        earlier=state.reading.at if state.reading and unavailable else None,
    )


async def _http_error(desk: Desk, request: Request, exc: Exception) -> Response:
    code = exc.status_code if isinstance(exc, HTTPException) else 500
    error = NotFound(f"no page {request.url.path!r:.200}", hint="start from the overview")
    return error_page(desk, error if code == 404 else OmnicdcError(TITLES.get(code, "it failed")), code)  # noqa: PLR2004 - as above


async def _unexpected(desk: Desk, _request: Request, _exc: Exception) -> Response:
    return error_page(desk, OmnicdcError("an unexpected error", hint="the log of `omnicdc ui` has it"), 500)


def _refused(desk: Desk, refusal: Refusal, scope: Scope) -> Response:
    headers = {"Allow": "GET, HEAD"} if refusal.status == 405 else {}  # noqa: PLR2004 - method not allowed
    if refusal.status != 401 or scope["path"] in {"/events", LOGIN}:  # noqa: PLR2004 - unauthorized
        text = f"{refusal.reason} - {refusal.hint}\n"
        return PlainTextResponse(text, refusal.status, headers)
    headers["WWW-Authenticate"] = "Bearer"
    return Response(
        desk.show("login.html", reason="", hint=refusal.hint, asks="token" in refusal.reason),
        401, headers, "text/html",
    )  # fmt: skip


async def static(desk: Desk, request: Request) -> Response:
    """Return a file of the page. Its address changes with its content, so that browsers keep it."""
    name = request.path_params["name"]
    content = desk.show.files.get(name)
    if content is None:
        raise NotFound(f"no file {name!r:.100}")
    kind = TYPES[PurePosixPath(name).suffix]
    return Response(content, 200, {"Cache-Control": "public, max-age=31536000, immutable"}, kind)


async def login(desk: Desk, request: Request, access: Access) -> Response:
    """Ask for the token; with the right one, set the cookie and lead to the overview."""
    if not access.token:
        raise NotFound("this page needs no login")
    if request.method != "POST":
        return Response(desk.show("login.html", reason="", hint="", asks=True), media_type="text/html")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            return PlainTextResponse("the form is too long\n", 413)
    given = parse_qs(body.decode(errors="replace")).get("token", [""])[0].strip()
    if not is_token(access, given):
        text = desk.show("login.html", reason="This is not the token.", hint="", asks=True)
        return Response(text, 403, media_type="text/html")
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        access.cookie,
        max_age=COOKIE_S,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


async def events(desk: Desk, request: Request) -> Response:
    """Return the stream of states: with `view=overview` the whole overview, else the first line alone."""
    board = desk.board
    news = board.subscribe()
    if news is None:
        return PlainTextResponse("too many browsers\n", 503, {"Retry-After": "10"})
    whole = request.query_params.get("view") == "overview"

    async def stream() -> AsyncIterator[str]:
        seen = -1
        try:
            yield "retry: 3000\n\n"
            while not board.closed:
                news.clear()
                if board.version != seen and board.version:
                    seen = board.version
                    yield desk.event(seen, whole, lambda: event(desk, board.state, whole=whole))
                    continue
                try:
                    await asyncio.wait_for(news.wait(), KEEP_ALIVE_S)
                except TimeoutError:
                    yield ":\n\n"
        finally:
            board.unsubscribe(news)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def event(desk: Desk, state: State, *, whole: bool) -> str:
    """Return the message from which a browser shows a state."""
    found: dict[str, Any] = {"strip": desk.show("_strip.html", strip=strip(state))}
    if state.reading:
        found["mark"] = state.reading.mark
        if whole:
            view = views.overview(state.reading, max_lag_s=desk.config.max_lag_s)
            found["live"] = desk.show("_overview.html", view=view, stale=stale(state))
    return f"data: {json.dumps(found)}\n\n"
