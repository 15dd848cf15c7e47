"""One progress bar over all files of a load, by decoded bytes, with records a second and rejects beside it."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmirror.errors import UnreadableFile
from medmirror.readers import folders

if TYPE_CHECKING:
    from medmirror.ingest.candidates import Candidate
    from medmirror.ingest.inputs import FileState
    from medmirror.ingest.pipeline import Totals

_GUESS = 8  # how many times larger a packed file is that does not say so itself


def decoded_size(path: Path, beneath: Path | None = None) -> int:
    """About how many bytes *path* holds once it is unpacked, told from its first and last bytes; 0 when it cannot be
    read."""
    try:
        with folders.open_file(path, beneath) as file:
            size = os.fstat(file.fileno()).st_size
            magic = file.read(4)
            if magic.startswith(b"PK"):
                with zipfile.ZipFile(file) as archive:
                    return sum(info.file_size for info in archive.infolist())
            if magic.startswith(b"\x1f\x8b") and size > 18:
                file.seek(-4, os.SEEK_END)
                unpacked = int.from_bytes(file.read(4), "little")
                # Modulo 4 GiB, and of the last member only: no more than a hint.
                return unpacked if unpacked > size else size * _GUESS
            return size
    except (OSError, UnreadableFile, zipfile.BadZipFile):
        return 0


class Bar:
    """A bar on stderr while it is open. ``update`` is what ``run.load`` calls after each chunk."""

    def __init__(self, files: Iterable[Candidate]) -> None:
        from tqdm import tqdm

        self._sizes = {file.path: decoded_size(file.path, file.beneath) for file in files}
        self._bar: Any = tqdm(
            total=sum(self._sizes.values()),
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            dynamic_ncols=True,
            smoothing=0.1,
        )
        self._began = time.perf_counter()
        self._seen = 0  # files before this one have ended
        self._passed = 0  # bytes of files that were skipped or refused

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._to(self._bar.total)
        self._bar.close()

    def update(self, totals: Totals, files: Sequence[FileState]) -> None:
        """Show how far *totals* have come; files that need no loading count as done."""
        while self._seen < len(files) and (files[self._seen].split or files[self._seen].status != "open"):
            state = files[self._seen]
            if state.status in ("skipped", "refused"):
                self._passed += self._sizes.get(Path(state.path), 0)
            self._seen += 1
        seconds = time.perf_counter() - self._began
        counts = totals.counts
        self._bar.set_postfix_str(f"{counts.read / seconds:,.0f} records/s, {counts.rejected:,} rejects", refresh=False)
        self._to(totals.bytes + self._passed)

    def _to(self, place: int) -> None:
        self._bar.update(max(0, min(place, self._bar.total) - self._bar.n))
