"""A window on a stream: the part of it that is held in memory."""

from __future__ import annotations

import re
from typing import BinaryIO

_LEAST = 1 << 16
_SPACE = re.compile(rb"[ \t\r\n]*+")


def skip_space(data: bytes, pos: int) -> int:
    """The first position at or after *pos* that holds no white space."""
    match = _SPACE.match(data, pos)
    return match.end() if match else pos


class Window:
    """The bytes of *stream* from offset ``base`` on, as far as they were read. ``eof``: there are no more."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.data = b""
        self.base = 0
        self.eof = False

    def fill(self, size: int) -> None:
        """Read on until at least *size* bytes are held, or the stream ends."""
        missing = size - len(self.data)
        if missing <= 0 or self.eof:
            return
        parts = [self.data]
        while missing > 0:
            part = self._stream.read(missing)
            if not part:
                self.eof = True
                break
            parts.append(part)
            missing -= len(part)
        self.data = b"".join(parts)

    def more(self) -> bool:
        """Read about as many bytes again as are held; return whether there were any."""
        size = len(self.data)
        self.fill(size + max(size, _LEAST))
        return len(self.data) > size

    def drop(self, count: int) -> None:
        """Drop the first *count* bytes."""
        self.data = self.data[count:]
        self.base += count

    def space(self, pos: int) -> int:
        """The first place at or after *pos* that holds no white space, reading on as needed; the end when all is."""
        while True:
            pos = skip_space(self.data, pos)
            if pos < len(self.data) or not self.more():
                return pos
