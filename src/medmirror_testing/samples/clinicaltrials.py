"""ClinicalTrials.gov studies (API v2) in every shape that a user may hold: array, page, zip, folder."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from medmirror_testing.samples.packing import Packer
from medmirror_testing.samples.study import study
from medmirror_testing.samples.text import nct_id

Shape = Literal["array", "page", "zip", "folder"]
_ZIP_DATE = (2026, 1, 24, 0, 0, 0)


class StudyFile(NamedTuple):
    """A file of studies that was written. *size* counts decoded bytes."""

    path: Path
    records: int
    size: int
    changed: tuple[str, ...]


def write_studies(
    path: Path,
    studies: int,
    *,
    shape: Shape = "array",
    seed: int = 0,
    first: int = 0,
    change: float = 0.0,
    pretty: bool = False,
    big: bool = True,
    next_page: str | None = None,
) -> StudyFile:
    """Write the trials with the ordinals *first* and on (``text.nct_id``).

    *shape*: ``array`` (the site's download), ``page`` (an answer of the API, with *next_page* as its nextPageToken),
    ``zip`` (a file a study) or ``folder`` (the same, unpacked into *path*). A study depends on *seed* and its ordinal
    alone; *change* is the share of them that is a later version of itself. *big* gives the second study 1,200
    locations. *pretty* indents.
    """
    ordinals = range(first, first + studies)
    changed = frozenset(random.Random(f"{seed} changed").sample(ordinals, round(studies * change)))
    texts = _texts(ordinals, seed, changed, big, pretty)
    if shape == "folder":
        size = _write_folder(path, texts)
    elif shape == "zip":
        size = _write_zip(path, texts)
    else:
        size = _write_stream(path, texts, shape, next_page, studies, pretty)
    return StudyFile(path, studies, size, tuple(nct_id(n) for n in sorted(changed)))


def encode(value: Any, pretty: bool = False) -> bytes:
    """*value* as JSON."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) if pretty else orjson.dumps(value)


def _texts(ordinals: range, seed: int, changed: frozenset[int], big: bool, pretty: bool) -> Iterator[tuple[str, bytes]]:
    for index, ordinal in enumerate(ordinals):
        locations = 1_200 if big and index == 1 else None
        value = study(ordinal, seed=seed, revision=int(ordinal in changed), locations=locations)
        yield nct_id(ordinal), encode(value, pretty)


def _write_folder(path: Path, texts: Iterator[tuple[str, bytes]]) -> int:
    path.mkdir(parents=True, exist_ok=True)
    return sum((path / f"{name}.json").write_bytes(text) for name, text in texts)


def _write_zip(path: Path, texts: Iterator[tuple[str, bytes]]) -> int:
    size = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in texts:
            archive.writestr(zipfile.ZipInfo(f"{name}.json", _ZIP_DATE), text, zipfile.ZIP_DEFLATED, 1)
            size += len(text)
    return size


def _write_stream(
    path: Path, texts: Iterator[tuple[str, bytes]], shape: Shape, next_page: str | None, total: int, pretty: bool
) -> int:
    line = b"\n" if pretty else b""
    with Packer(path) as packer:
        if shape == "page":
            packer.write(b'{"totalCount":%d,"studies":[' % total + line)
        else:
            packer.write(b"[\n")
        for index, (_, text) in enumerate(texts):
            packer.write((b"," + (line or b"\n") if index else b"") + text)
        packer.write(line + b"]" if shape == "page" else b"\n]\n")
        if shape == "page":
            packer.write((b',"nextPageToken":' + json.dumps(next_page).encode() if next_page else b"") + b"}\n")
        return packer.size
