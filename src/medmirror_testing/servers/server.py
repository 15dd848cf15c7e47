"""A small HTTP/1.1 server on 127.0.0.1: a function answers requests, faults come before and after it."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from medmirror.clock import SYSTEM, Clock
from medmirror_testing.servers.hostile import Fault, Faults, What

_KEPT = 20_000  # requests that are remembered
_WORD = re.compile(r"[$A-Za-z_][A-Za-z_.-]*|v\d+")


class Request(NamedTuple):
    """A request: *headers* by lower-case name, *query* in its order, decoded."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    target: str  # path and query as they were sent

    def value(self, name: str, default: str = "") -> str:
        """The last value of *name* in the query."""
        return next((value for key, value in reversed(self.query) if key == name), default)

    def values(self, name: str) -> list[str]:
        """Every value of *name* in the query."""
        return [value for key, value in self.query if key == name]

    def json(self) -> Any:
        """The body, which must be JSON: ValueError when it is not."""
        return orjson.loads(self.body)


class Reply(NamedTuple):
    """A reply. *cut*: the connection ends after so many bytes of the body; *close*: it ends without an answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    cut: int | None = None
    close: bool = False


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """*value* as JSON."""
    return Reply(status, orjson.dumps(value), {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


def pattern(path: str) -> str:
    """*path* with a star for each segment that is no plain word; requests are counted by it."""
    return "/".join(part if not part or _WORD.fullmatch(part) else "*" for part in path.split("/"))


class LocalServer:
    """*handle* behind a port of 127.0.0.1 that the system chooses; a context manager.

    *handle* is called from several threads. ``calls`` counts requests by method and pattern ("GET /v1/patients/*"),
    those that a fault answered too; ``seen`` holds the last of them.
    """

    def __init__(self, handle: Callable[[Request], Reply], faults: Faults | None = None, clock: Clock = SYSTEM) -> None:
        self.faults = faults or Faults()
        self.clock = clock
        self.calls: Counter[str] = Counter()
        self.seen: deque[Request] = deque(maxlen=_KEPT)
        self._handle = handle
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def total(self) -> int:
        """The number of requests."""
        return self.calls.total()

    def start(self) -> Self:
        """Listen; after a ``stop``, on the same port again."""
        server = _Server(("127.0.0.1", self._port), _handler_of(self))
        self._port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more, and cut every connection."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self._lock:
            for connection in self._open:
                _cut(connection)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection, to cut it at the end."""
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(connection)

    def answer(self, request: Request) -> Reply:
        """The reply to *request*, faults included."""
        with self._lock:
            self.calls[f"{request.method} {pattern(request.path)}"] += 1
            self.seen.append(request)

        def strikes(what: What) -> Fault | None:
            return self.faults.strikes(what, request.path, request.method)

        if fault := strikes("slow"):
            time.sleep(fault.seconds)  # for the client's patience, which is real
        if strikes("closed"):
            return Reply(close=True)
        if fault := strikes("limited"):
            return self.limited(fault)
        if fault := strikes("unavailable"):
            return Reply(fault.status, b"<html>Service Unavailable</html>", {"Content-Type": "text/html"})
        reply = self._handle(request)
        if strikes("lost"):
            return Reply(close=True)
        if reply.body and strikes("truncated"):
            return reply._replace(cut=len(reply.body) // 2)
        return reply

    def limited(self, fault: Fault) -> Reply:
        """A 429 that says when to come again as *fault* has it."""
        then = self.clock.now() + timedelta(seconds=fault.seconds + self.faults.skew)
        headers = {
            "seconds": {"Retry-After": str(round(fault.seconds))},
            "date": {"Retry-After": format_datetime(then, usegmt=True)},
            "reset": {"X-RateLimit-Reset": str(round(then.timestamp()))},
            "silent": {},
        }[fault.how]
        return json_reply({"message": "Rate limit exceeded"}, 429, headers)

    def date(self) -> str:
        """The Date header."""
        return format_datetime(self.clock.now() + timedelta(seconds=self.faults.skew), usegmt=True)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news; a broken handler must be seen by the test, as an answer of 500."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


def _handler_of(server: LocalServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            server.opened(self.connection)

        def finish(self) -> None:
            server.closed(self.connection)
            super().finish()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: a request line may name a person."""

        def serve(self) -> None:
            try:
                reply = server.answer(_request(self))
            except Exception as error:  # noqa: BLE001 - the client must not wait for an answer of a broken handler
                reply = json_reply({"message": f"the local server failed: {type(error).__name__}: {error}"}, 500)
            self.close_connection = self.close_connection or reply.close or reply.cut is not None
            if reply.close:
                _cut(self.connection)
                return
            self.wfile.write(_written(self, reply))
            if reply.cut is not None:
                _cut(self.connection)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = serve

    def _written(handler: BaseHTTPRequestHandler, reply: Reply) -> bytes:
        headers = {"Date": server.date(), "Content-Length": str(len(reply.body)), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} {handler.responses.get(reply.status, ('',))[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return head if handler.command == "HEAD" else head + reply.body[: reply.cut]

    return Handler


def _request(handler: BaseHTTPRequestHandler) -> Request:
    length = int(handler.headers.get("Content-Length") or 0)
    body = handler.rfile.read(length) if length else b""
    url = urlsplit(handler.path)
    headers = {name.lower(): value for name, value in handler.headers.items()}
    query = tuple(parse_qsl(url.query, keep_blank_values=True))
    return Request(handler.command, unquote(url.path), query, headers, body, handler.path)
