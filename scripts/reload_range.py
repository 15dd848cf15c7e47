"""Load PubMed files of a range of numbers again, whatever the ledger says: after a repair, or to be certain.

    python scripts/reload_range.py /data/pubmed 1335 1340

Unchanged citations cost no write; the printed counts say what the mirror had missed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import medmirror


def main(folder: Path, first: int, last: int) -> int:
    """Load the files of *folder* numbered *first* to *last* by force; return the exit code."""
    paths = [
        path
        for path in sorted(folder.rglob("pubmed*n*.xml.gz"))
        if (number := re.search(r"n(\d{4,})\.xml", path.name)) and first <= int(number[1]) <= last
    ]
    if not paths:
        print(f"no file numbered {first} to {last} in {folder}", file=sys.stderr)
        return 2
    result = medmirror.load("pubmed", paths, force=True)
    counts = f"{result.unchanged:,} unchanged, {result.inserted:,} were missing, {result.updated:,} stale"
    print(f"{len(paths)} files: {counts}")
    return result.exit_code


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
