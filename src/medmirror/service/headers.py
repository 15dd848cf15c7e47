"""What every answer carries: a request id, headers that keep browsers from doing more than showing it."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmirror.service import problems

_PAGE = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'"
SECURITY = {
    "Content-Security-Policy": f"{_PAGE}; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_HSTS = "max-age=31536000"
_log = logging.getLogger(__name__)

Count = Callable[[str, str, int, float], None]
"""Told of each answer: method, route, status, seconds."""


def route_of(scope: Scope) -> str | None:
    """The route that answered, as it is documented (``/api/v1/{source}/...``); None when none matched."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


class Envelope:
    """ASGI, outermost: gives the request an id, the answer its headers, and counts it. Answers no other Host than
    *hosts* (if any): a page that resolves to our address must not read us through its visitor's browser."""

    def __init__(self, app: ASGIApp, count: Count, hosts: tuple[str, ...], secure: bool) -> None:
        self.app, self.count, self.hosts = app, count, hosts
        self.fixed = {**SECURITY, **({"Strict-Transport-Security": _HSTS} if secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with an envelope around."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = secrets.token_hex(8)
        began, status = time.perf_counter(), 500

        async def enveloped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self.fixed.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = state["request_id"]
                del headers["X-Problem"]
            await send(message)

        try:
            if self.hosts and _host(scope) not in self.hosts:
                detail = "This service is not known by that name."
                await problems.response("bad-request", detail)(scope, receive, enveloped)
            else:
                await self.app(scope, receive, enveloped)
        finally:
            seconds = time.perf_counter() - began
            self.count(scope["method"], route_of(scope) or "none", status, seconds)
            _log.debug("%s %s %d %.1f ms", scope["method"], route_of(scope), status, seconds * 1000)


def _host(scope: Scope) -> str:
    value = Headers(scope=scope).get("host", "")
    return value.rsplit(":", 1)[0] if not value.endswith("]") else value
