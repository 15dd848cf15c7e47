"""openFDA's downloads on this machine: download.json, and partitions made of samples."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import orjson

from medmirror_testing.samples.openfda import Endpoint, write_openfda
from medmirror_testing.servers.publishers import FileServer

_ENDPOINTS: dict[str, Endpoint] = {"shortages": "shortage"}


class FdaServer(FileServer):
    """A ``FileServer`` whose ``exports`` are endpoints by name ("drug/ndc"), each with its partitions."""

    def __init__(self) -> None:
        super().__init__()
        self.exports: dict[str, dict[str, Any]] = {}

    def export(self, name: str, day: str, sizes: list[int], *, first: int = 0, **more: Any) -> list[str]:
        """Export *name* (drug/ndc) anew: partitions of so many samples each, from the *first* on; return their
        paths."""
        kind = name.split("/")[1]
        endpoint: Endpoint = _ENDPOINTS.get(kind, kind)  # type: ignore[arg-type]
        changed = datetime.combine(datetime.fromisoformat(day), time(4, 30), UTC)
        partitions, begin = [], first
        for number, size in enumerate(sizes, 1):
            with tempfile.TemporaryDirectory() as place:
                part = (number, len(sizes))
                written = write_openfda(Path(place), endpoint, size, first=begin, part=part, updated=day, **more)
                path, body = f"/{name}/{written.path.name}", written.path.read_bytes()
            self.put(path, body, changed)
            facts = {"display_name": f"{name} (part {number} of {len(sizes)})", "records": size}
            partitions.append({**facts, "file": f"{self.url}{path}", "size_mb": f"{len(body) / 1e6:.2f}"})
            begin += size
        self.exports[name] = {"export_date": day, "total_records": sum(sizes), "partitions": partitions}
        self.publish(changed)
        return [str(partition["file"]).removeprefix(self.url) for partition in partitions]

    def publish(self, changed: datetime | None = None) -> None:
        """Write the manifest of the present exports."""
        results: dict[str, dict[str, Any]] = {}
        for name, facts in self.exports.items():
            area, kind = name.split("/")
            results.setdefault(area, {})[kind] = facts
        meta = {
            "disclaimer": "Made up.",
            "last_updated": max(export["export_date"] for export in self.exports.values()),
        }
        self.put("/download.json", orjson.dumps({"meta": meta, "results": results}), changed)
