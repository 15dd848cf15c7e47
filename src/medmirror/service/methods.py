"""HEAD wherever there is GET (RFC 9110), and every method that an address knows."""

from __future__ import annotations

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """ASGI: answers HEAD as GET, without the body; what stands around this one sees HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def bodiless(message: Message) -> None:
            scope["method"] = "HEAD"
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"  # in this very scope: the routes write into it what the audit log reads
        try:
            await self.app(scope, receive, bodiless)
        finally:
            scope["method"] = "HEAD"


def of_address(routes: list[BaseRoute], scope: Scope) -> list[str]:
    """The methods that the address of *scope* knows, in the order of the alphabet."""
    methods: set[str] = set()
    for route in routes:
        if route.matches(scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))
