"""Applies `access` to each request, and puts the headers on each answer that confine a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser

from omnicdc.cli.ui.access import COOKIE, Access, Refusal, Request, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONFINED = {
    # Scripts, styles, pictures and connections come from this server alone; nothing inline runs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Gate:
    """Middleware. `refuse` makes the answer to a request that is not admitted."""

    def __init__(self, app: ASGIApp, access: Access, refuse: Callable[[Refusal, Scope], Response]) -> None:
        """Store the application behind the gate."""
        self._app, self._access, self._refuse = app, access, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def confined(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in CONFINED.items():
                    headers[name] = value
                if "Cache-Control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        refusal = judge(self._access, _facts(scope, self._access.header))
        answer = self._app if refusal is None else self._refuse(refusal, scope)
        await answer(scope, receive, confined)


def _facts(scope: Scope, user_header: str) -> Request:
    headers = Headers(scope=scope)
    client = scope.get("client")
    # A header that stands there twice is not trusted: a proxy may have added its own to a forged one.
    hosts, users = headers.getlist("host"), headers.getlist(user_header) if user_header else []
    return Request(
        method=scope["method"],
        path=scope["path"],
        host=hosts[0] if len(hosts) == 1 else "",
        peer=client[0] if client else "",
        cookie=cookie_parser(headers.get("cookie", "")).get(COOKIE, ""),
        authorization=headers.get("authorization", ""),
        user=users[0].strip() if len(users) == 1 else "",
    )
