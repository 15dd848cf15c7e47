"""Rows sent to Postgres by COPY, in its binary format (``copyformat.py``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from medmirror import copyformat
from medmirror.db import connect

_COPY_WRITE = 1 << 20  # bytes a write: small writes cost the client a system call and a wake-up each


def copy(conn: Connection, statement: str, rows: Iterable[bytes]) -> None:
    """Send *rows* (binary COPY tuples) by *statement*, a COPY .. FROM STDIN (FORMAT BINARY)."""
    with connect.raw(conn).cursor() as cursor, cursor.copy(statement.encode()) as sink:
        for piece in _pieces(rows):
            sink.write(piece)


def _pieces(rows: Iterable[bytes]) -> Iterator[bytes]:
    buffer = [copyformat.SIGNATURE]
    size = 0
    for row in rows:
        buffer.append(row)
        size += len(row)
        if size >= _COPY_WRITE:
            yield b"".join(buffer)
            buffer, size = [], 0
    buffer.append(copyformat.TRAILER)
    yield b"".join(buffer)
