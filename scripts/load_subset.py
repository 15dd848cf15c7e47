"""Load only the citations that carry a MeSH heading, with a mark of your own: a filter and a transform, both closures.

    python scripts/load_subset.py "Diabetes Mellitus, Type 2" pubmed26n*.xml.gz

They run in the worker processes. A record is a dict of its columns (docs/pubmed-columns.md). What the filter drops is
counted as `filtered`; what it raises or the transform breaks becomes a reject, and the rest loads.
"""

from __future__ import annotations

import sys
from typing import Any

import medmirror


def main(heading: str, paths: list[str]) -> int:
    """Load the citations of *paths* that have *heading*; return the exit code."""

    def wanted(feed: str, record: dict[str, Any]) -> bool:
        return any(mesh["descriptor"] == heading for mesh in record["mesh"] or ())

    def marked(feed: str, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "keywords": [*(record["keywords"] or ()), f"subset: {heading}"]}

    result = medmirror.load("pubmed", paths, filter=wanted, transform=marked)
    print(f"{result.inserted + result.updated:,} of {result.read:,} citations have {heading!r}")
    return result.exit_code


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
