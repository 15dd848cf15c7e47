"""The inputs of a load: the files that each of its paths names tonight, and what is wrong when it names none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from medmirror import sources
from medmirror.ingest import candidates, run
from medmirror.ingest.candidates import Candidate, Named
from medmirror.nightly.config import Load


class Input(NamedTuple):
    """One of a load's *paths*, {organization} put in, and what it names."""

    path: str
    candidates: tuple[Candidate, ...]

    @property
    def files(self) -> int:
        """How many files are to be loaded."""
        return sum(not candidate.ignored for candidate in self.candidates)


def of(load: Load, folder: Path, organization: str | None) -> list[Input]:
    """The inputs of *load* for *organization*; its paths are relative to *folder*.

    Raises UnreadableFile for a folder that cannot be searched, UsageError for a mapping file that cannot be read.
    """
    mapping = orjson.dumps(run.read_mappings(load.mapping)).decode()
    exports = candidates.named(sources.get(load.source), {"mapping": mapping})
    paths = [path.replace("{organization}", organization or "") for path in load.paths]
    return [Input(path, tuple(_candidates(folder, path, exports))) for path in paths]


def _candidates(folder: Path, path: str, exports: Named) -> Iterator[Candidate]:
    if candidates.is_pattern(path):
        yield from candidates.matches(folder, path, exports)
    elif (folder / path).exists():
        yield from candidates.of(folder / path, exports)


def files(inputs: Iterable[Input]) -> list[Candidate]:
    """What all *inputs* name together."""
    return [candidate for entry in inputs for candidate in entry.candidates]


def lacking(load: Load, folder: Path, inputs: Iterable[Input]) -> str:
    """Which inputs have no file to load, and what to do about it; empty: each has one, or may have none.

    An input that holds links or special files alone is never taken for one that may be empty.
    """
    empty = [entry for entry in inputs if not entry.files]
    if load.may_be_empty:
        empty = [entry for entry in empty if candidates.unread(entry.candidates)]
    if not empty:
        return ""
    matches = [f'No file matches "{path}" in {folder}{candidates.left_out(left_out)}.' for path, left_out in empty]
    advice = f"Put the files there, or correct paths in [load.{load.name}]"
    return " ".join([*matches, f"{advice}; where none may come, write may_be_empty = true there."])


def counts(inputs: Sequence[Input]) -> list[dict[str, Any]]:
    """What a receipt says of *inputs*: how many files each has, and how many were left out, why, and the first few."""
    return [
        {"path": entry.path, "files": entry.files, "left_out": candidates.tally(entry.candidates)} for entry in inputs
    ]
