"""NLM's server on this machine: index pages of baseline and updatefiles, files made of samples, their MD5."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from medmirror_testing.samples.pubmed import write_pubmed
from medmirror_testing.servers.publishers import FileServer
from medmirror_testing.servers.server import Reply, Request

_START = datetime(2025, 12, 14, 15, 39, tzinfo=UTC)


class PubmedServer(FileServer):
    """A ``FileServer`` with the files of a year; ``dated`` False: its lists say neither date nor size."""

    def __init__(self) -> None:
        super().__init__(self._index)
        self.dated = True
        self._count = 0

    def add(self, number: int, citations: int, *, folder: str = "baseline", year: int = 26, **more: Any) -> str:
        """Publish a file of samples (``samples.pubmed.write_pubmed``); return its name."""
        with tempfile.TemporaryDirectory() as place:
            written = write_pubmed(Path(place), citations, year=year, number=number, **more)
            self.publish(folder, written.path.name, written.path.read_bytes())
            return written.path.name

    def publish(self, folder: str, name: str, body: bytes, md5: str | None = None) -> None:
        """Publish *body* as *name*, with the MD5 that it has, or *md5*."""
        self._count += 1
        changed = _START + timedelta(hours=self._count)
        digest = md5 or hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.put(f"/{folder}/{name}", body, changed)
        self.put(f"/{folder}/{name}.md5", f"MD5({name})= {digest}\n".encode(), changed)

    def withdraw(self, folder: str, names: Sequence[str]) -> None:
        """Take files away."""
        for name in names:
            self.files.pop(f"/{folder}/{name}", None)
            self.files.pop(f"/{folder}/{name}.md5", None)

    def _index(self, request: Request) -> Reply | None:
        folder = request.path.strip("/")
        if folder not in ("baseline", "updatefiles"):
            return None
        lines = [
            f"<html><head><title>Index of /pubmed/{folder}</title></head><body><pre>",
            '<a href="/pubmed/">Parent</a>',
        ]
        for path, stored in sorted(self.files.items()):
            if path.startswith(f"/{folder}/"):
                name = path.rsplit("/", 1)[1]
                columns = f"{stored.changed:%Y-%m-%d %H:%M}  {len(stored.body):>5}" if self.dated else ""
                lines.append(f'<a href="{name}">{name}</a>   {columns}')
        return Reply(200, "\n".join([*lines, "</pre></body></html>"]).encode(), {"Content-Type": "text/html"})
