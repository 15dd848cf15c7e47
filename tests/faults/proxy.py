"""A way to the server that can be cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo


class Proxy:
    """Listens on a port of this machine, and passes everything on to the server of *dsn*; ``dsn`` leads through it."""

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            host, self.port = connection.info.host, connection.info.port
        self.target: Any = f"{host}/.s.PGSQL.{self.port}" if host.startswith("/") else (host, self.port)
        self.family = socket.AF_UNIX if host.startswith("/") else socket.AF_INET
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=self.listener.getsockname()[1])
        self.open: list[socket.socket] = []
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(self.family)
            server.connect(self.target)
            self.open += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break every connection, in the middle of whatever it carries."""
        gone, self.open = self.open, []
        self.cuts += len(gone)
        for end in gone:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
