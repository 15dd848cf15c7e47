"""How much one client may ask: a bucket of tokens a key, and how large a request may be."""

from __future__ import annotations

import threading
from collections import OrderedDict

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmirror.service import problems
from medmirror.settings import KIB

HEADER_BYTES = 16 * KIB
_KNOWN = 10_000  # buckets that are kept; the one that was not used for longest goes first


class Buckets:
    """A bucket for each name: *burst* tokens when full, filled by *rate* a second. In this process alone."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (tokens, when)
        self._lock = threading.Lock()

    def take(self, name: str, now: float) -> float:
        """0.0 when there was a token for *name* at *now* (seconds), or the seconds until there is one."""
        with self._lock:
            tokens, then = self._held.pop(name, (float(self._burst), now))
            tokens = min(float(self._burst), tokens + max(0.0, now - then) * self._rate)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
            self._held[name] = (tokens if wait else tokens - 1, now)
            if len(self._held) > _KNOWN:
                self._held.popitem(last=False)
            return wait


def refuse_when_spent(buckets: Buckets, name: str, now: float) -> None:
    """Take a token of *name*; Problem 429 with Retry-After when there is none."""
    wait = buckets.take(name, now)
    if wait:
        seconds = max(1, int(wait + 0.999))
        raise problems.Problem("too-many", f"Try again in {seconds} s.", {"Retry-After": str(seconds)})


class Size:
    """ASGI: reads a request's body whole before anything else sees it, and refuses one that is too large or too slow,
    or has too many headers."""

    def __init__(self, app: ASGIApp, body_bytes: int, headers: int, seconds: float) -> None:
        self.app = app
        self.body_bytes, self.headers, self.seconds = body_bytes, headers, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request of fair size on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if len(scope["headers"]) > self.headers or size > HEADER_BYTES:
            detail = f"At most {self.headers} headers are read, and {HEADER_BYTES // KIB} KiB of them."
            refused = problems.response("headers-too-many", detail)
            await refused(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        body = None if announced.isdigit() and int(announced) > self.body_bytes else b""
        if body is not None:
            try:
                with anyio.fail_after(self.seconds):
                    body = await self._read(receive)
            except TimeoutError:
                slow = problems.response("too-slow", f"A body has {self.seconds:g} s.", {"Connection": "close"})
                await slow(scope, receive, send)
                return
        if body is None:
            detail = f"A body has at most {self.body_bytes // KIB} KiB."
            await problems.response("too-large", detail, {"Connection": "close"})(scope, receive, send)
            return
        await self.app(scope, _given(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(pieces)  # the client has gone: nobody reads the answer
            size += len(message.get("body", b""))
            if size > self.body_bytes:
                return None
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(pieces)


def _given(body: bytes, receive: Receive) -> Receive:
    """A receive that gives *body* first and then what *receive* gives."""
    left = [body]

    async def give() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return give
