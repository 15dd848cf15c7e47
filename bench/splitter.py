"""The memory of the streaming reader alone: ``python -m bench.splitter SOURCE FILE [MAPPING]`` prints it as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from medmirror import sources
from medmirror.readers import files
from medmirror.settings import Settings


def main() -> None:
    """Read *FILE* from end to end as the parent of a load does, keeping nothing."""
    name, path, *mappings = sys.argv[1], *map(Path, sys.argv[2:])
    given = {"mapping": json.dumps([mapping.read_text() for mapping in mappings])}
    source, settings = sources.get(name), Settings.from_environment({})
    before = _forget_peak()
    start, blocks, size = time.process_time(), 0, 0
    for stream in files.streams(path, settings.max_zip_ratio):
        context = source.context(stream.name, files.head(stream), stream.open, given)
        with stream.open() as file:
            for block in source.split(file, context, settings.chunk_bytes, settings.max_record_bytes):
                blocks += 1
                size += len(getattr(block, "data", b""))
    cpu = time.process_time() - start
    grown = _memory("VmHWM") - before
    print(json.dumps({"read": blocks, "bytes": size, "cpu": cpu, "grown_mib": grown / 1024}))


def _forget_peak() -> int:
    """Set the peak of resident memory back to what is resident now; return that, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
