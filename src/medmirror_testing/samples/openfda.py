"""openFDA's bulk files: one object ``{"meta": ..., "results": [...]}``, plain or alone in a ``.json.zip``."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from medmirror_testing.samples import fda_products, fda_reports
from medmirror_testing.samples.label import label
from medmirror_testing.samples.packing import Packer

Endpoint = Literal["label", "ndc", "drugsfda", "event", "enforcement", "shortage"]
ENDPOINTS: dict[Endpoint, Callable[..., dict[str, Any]]] = {
    "label": label,
    "ndc": fda_products.ndc,
    "drugsfda": fda_products.application,
    "event": fda_reports.event,
    "enforcement": fda_reports.enforcement,
    "shortage": fda_reports.shortage,
}
_NAMES = {"shortage": "shortages"}
_DISCLAIMER = (
    "Do not rely on openFDA to make decisions regarding medical care. While we make every effort to ensure that data "
    "is "
    "accurate, you should assume all results are unvalidated. We may limit or otherwise restrict your access to the "
    "API in "
    "line with our Terms of Service."
)
_ZIP_DATE = (2026, 1, 24, 0, 0, 0)


class FdaFile(NamedTuple):
    """A file of openFDA that was written. *size* counts decoded bytes, *changed* the ordinals of records that are later
    versions."""

    path: Path
    records: int
    size: int
    changed: tuple[int, ...]


def write_openfda(
    path: Path,
    endpoint: Endpoint,
    records: int,
    *,
    seed: int = 0,
    first: int = 0,
    total: int | None = None,
    part: tuple[int, int] = (1, 1),
    change: float = 0.0,
    updated: str = "2026-01-24",
    meta_last: bool = False,
    pretty: bool = True,
) -> FdaFile:
    """Write one partition of *endpoint* with the records *first* and on.

    *path* is a file (zipped when it ends in ``.zip``) or a folder, in which the file gets FDA's name for *part*
    (number, of how many). Record n of one endpoint is about the same drug as record n of the others
    (``fda_products.product``). *updated* is the export date in ``meta``; *meta_last* prints meta after the results,
    which JSON allows. *pretty* breaks lines as FDA does.
    """
    if path.is_dir():
        path = path / f"drug-{_NAMES.get(endpoint, endpoint)}-{part[0]:04d}-of-{part[1]:04d}.json.zip"
    ordinals = range(first, first + records)
    changed = frozenset(random.Random(f"{seed} changed").sample(ordinals, round(records * change)))
    counts = {"skip": first, "limit": records, "total": total or first + records}
    meta = {
        "disclaimer": _DISCLAIMER,
        "terms": "https://open.fda.gov/terms/",
        "license": "https://open.fda.gov/license/",
        "last_updated": updated,
        "results": counts,
    }
    head = b'"meta": ' + orjson.dumps(meta, option=orjson.OPT_INDENT_2)
    line = b"\n" if pretty else b""
    option = orjson.OPT_INDENT_2 if pretty else 0
    with _open(path) as out:
        out.write(b"{" + line + (b"" if meta_last else head + b"," + line) + b'"results": [' + line)
        for index, ordinal in enumerate(ordinals):
            value = ENDPOINTS[endpoint](ordinal, seed=seed, revision=int(ordinal in changed))
            out.write((b"," + line if index else b"") + orjson.dumps(value, option=option))
        out.write(line + b"]" + (b"," + line + head if meta_last else b"") + line + b"}" + line)
        size = out.size
    return FdaFile(path, records, size, tuple(sorted(changed)))


class _ZipPacker:
    """One member of a new zip archive; ``size`` counts the bytes before packing."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._archive = zipfile.ZipFile(path, "w")
        member = zipfile.ZipInfo(path.name.removesuffix(".zip"), _ZIP_DATE)
        member.compress_type = zipfile.ZIP_DEFLATED
        member._compresslevel = 1  # type: ignore[attr-defined]
        self._member = io.BufferedWriter(self._archive.open(member, "w"), 1 << 20)

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._member.write(data)

    def __enter__(self) -> _ZipPacker:
        return self

    def __exit__(self, *_: object) -> None:
        self._member.close()
        self._archive.close()


def _open(path: Path) -> Packer | _ZipPacker:
    return _ZipPacker(path) if path.suffix == ".zip" else Packer(path)
