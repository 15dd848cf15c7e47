"""Streams of bytes that come in pieces: whole files to whoever reads them, whichever way he reads."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

_READ = 1 << 20


class Pieces(io.RawIOBase):
    """A stream that is read and never written. Whoever derives from it says in ``read`` what comes next: at most *size*
    bytes, none at the end, all that is left for a negative *size*."""

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill *buffer* as far as the next piece goes; return the number of bytes. What wraps a stream calls it."""
        data = self.read(len(view := memoryview(buffer).cast("B")))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """All that is left."""
        return b"".join(iter(lambda: self.read(_READ), b""))


class Ahead(Pieces):
    """*stream*, of which *head* was read already. Closing it calls *close*."""

    def __init__(self, head: bytes, stream: Any, close: Callable[[], object]) -> None:
        self._head, self._stream, self._close = head, stream, close

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        data, self._head = self._head[:size], self._head[size:]
        return data + self._stream.read(size - len(data)) if len(data) < size else data

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()
