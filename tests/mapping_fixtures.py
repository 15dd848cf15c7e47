"""Stored cases of every mapper: tests/fixtures/mapping/SOURCE_FEED.json, a list of documents and what they mean.

A new mapper gets its file from documents of made-up people, to be read through before it is committed:

    python -m tests.mapping_fixtures cliniko patient documents.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from medmirror.mapping import Mapped, mappers

FOLDER = Path(__file__).parent / "fixtures" / "mapping"


def path_of(source: str, feed: str) -> Path:
    """Where the cases of a mapper are."""
    return FOLDER / f"{source}_{feed}.json"


def told(mapped: Mapped) -> dict[str, Any]:
    """*mapped* as a fixture holds it."""
    return {
        "record": mapped.record,
        "tombstone": mapped.tombstone and mapped.tombstone._asdict(),
        "problems": [list(one) for one in mapped.problems],
    }


def main(source: str, feed: str, documents: str) -> None:
    """Write the cases of a mapper from a file with an array of documents."""
    mapper = mappers().of(source, feed)
    assert mapper is not None, f"there is no mapper for {source} {feed}"
    cases = [
        {"document": document, **told(mapper.to_canonical(document))}
        for document in json.loads(Path(documents).read_text(encoding="utf-8"))
    ]
    path_of(source, feed).write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
