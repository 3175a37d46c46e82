"""The pages /metrics, /healthz and /readyz, as one WSGI application. Everything else is 404."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from omnicdc.daemon.metrics.health import not_alive, not_ready
from omnicdc.daemon.metrics.samples import Exposition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from omnicdc.daemon.metrics.facts import Facts

METHODS = ("GET", "HEAD")


def pages(facts: Callable[[], Facts], max_lag_s: Callable[[], float]) -> WSGIApplication:
    """Return the application. `facts` and `max_lag_s` are called for each request."""
    metrics = Exposition(facts)
    judges: dict[str, Callable[[], str]] = {
        "/healthz": lambda: not_alive(facts()),
        "/readyz": lambda: not_ready(facts(), max_lag_s()),
    }

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method not in METHODS:
            return _text(start_response, HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD expected", allow=True)
        if path == "/metrics":
            text, content_type = metrics(environ.get("HTTP_ACCEPT", ""))
            start_response("200 OK", [("Content-Type", content_type)])
            body = [text]
        elif judge := judges.get(path):
            reason = judge()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
            body = _text(start_response, status, reason or "ok")
        else:
            body = _text(start_response, HTTPStatus.NOT_FOUND, "here are /metrics, /healthz and /readyz")
        return body if method == "GET" else []

    return application


def _text(
    start_response: StartResponse, status: HTTPStatus, text: str, *, allow: bool = False
) -> list[bytes]:
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if allow:
        headers.append(("Allow", ", ".join(METHODS)))
    start_response(f"{status.value} {status.phrase}", headers)
    return [f"{text}\n".encode()]
