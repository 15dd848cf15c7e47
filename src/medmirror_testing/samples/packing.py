"""Writing a file plain or gzipped, always with the same bytes for the same content."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from isal import isal_zlib

_GZIP = 31  # window bits that mean: with a gzip header


class Packer:
    """A file to write bytes to, gzipped when its name ends in ``.gz``; ``size`` counts the bytes before packing.

    The gzip header holds neither name nor time.
    """

    def __init__(self, path: Path, level: int = 1) -> None:
        self.size = 0
        self._file = path.open("wb", buffering=1 << 20)
        self._zip: Any = isal_zlib.compressobj(level, isal_zlib.DEFLATED, _GZIP) if path.suffix == ".gz" else None

    def write(self, data: bytes) -> None:
        """Append *data*."""
        self.size += len(data)
        self._file.write(self._zip.compress(data) if self._zip else data)

    def __enter__(self) -> Packer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if self._zip:
                self._file.write(self._zip.flush())
