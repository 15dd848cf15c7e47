"""A transaction pooler: clients share the server's sessions, each for one transaction, and nothing is cleared between.

It speaks as much of Postgres' protocol as programs need that send queries; like pgbouncer, it tells clients numbers of
processes that are its own.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102


class Pooler:
    """Listens on a port of this machine until ``close``; ``dsn`` leads through it to the server of *dsn*.

    With *sessions* a client keeps its session of the server until it leaves, as through a session pooler that clears
    nothing.
    """

    def __init__(self, dsn: str, *, sessions: bool = False) -> None:
        with psycopg.connect(dsn) as connection:
            host, port = connection.info.host, connection.info.port
            self._names = {"user": connection.info.user, "database": connection.info.dbname}
        self._target: Any = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self._family = socket.AF_UNIX if host.startswith("/") else socket.AF_INET
        self._sessions = sessions
        self._listener = socket.create_server(("127.0.0.1", 0))
        own = {"host": "127.0.0.1", "port": self._listener.getsockname()[1], "sslmode": "disable"}
        self.dsn = make_conninfo(**{**conninfo_to_dict(dsn), **own})
        self._idle: list[socket.socket] = []
        self._numbers = itertools.count(1)
        self._greeting = b""
        self._idle.append(self._connect())
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more clients, and leave the server."""
        self._listener.close()
        for server in self._idle:
            server.close()

    def _connect(self) -> socket.socket:
        """A new session of the server."""
        server = socket.socket(self._family)
        server.connect(self._target)
        facts = {**self._names, "client_encoding": "UTF8"}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in facts.items()) + b"\0"
        server.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        greeting = b""
        while (message := _message(server))[:1] != b"Z":
            greeting += b"" if message[:1] == b"K" else message
        self._greeting = greeting
        return server

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        with suppress(OSError), client:
            if not self._greet(client):
                return
            while (message := _message(client))[:1] != b"X":
                server = server or (self._idle.pop() if self._idle else self._connect())
                server.sendall(message)
                if message[:1] in (b"Q", b"S") and _answer(server, client) == b"I" and not self._sessions:
                    self._idle.append(server)
                    server = None
        if server is not None and self._sessions:
            self._idle.append(server)

    def _greet(self, client: socket.socket) -> bool:
        while True:
            (size,) = struct.unpack("!i", _exactly(client, 4))
            (kind,) = struct.unpack("!i", _exactly(client, size - 4)[:4])
            if kind == _CANCEL:
                return False
            if kind not in (_SSL, _GSS):
                break
            client.sendall(b"N")
        key = b"K" + struct.pack("!iii", 12, next(self._numbers), 0)
        client.sendall(self._greeting + key + b"Z" + struct.pack("!ic", 5, b"I"))
        return True


def _answer(server: socket.socket, client: socket.socket) -> bytes:
    """Pass the server's answer on to the client; return the state of the transaction after it."""
    while True:
        message = _message(server)
        client.sendall(message)
        if message[:1] == b"Z":
            return message[5:6]


def _message(stream: socket.socket) -> bytes:
    head = _exactly(stream, 5)
    (size,) = struct.unpack("!i", head[1:])
    return head + _exactly(stream, size - 4)


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.recv(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data
