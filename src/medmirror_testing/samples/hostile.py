"""Small files that are broken or mean harm, for tests; each names the outcome that a loader must come to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from isal import isal_zlib

from medmirror_testing.samples.citation import citation
from medmirror_testing.samples.clinicaltrials import encode
from medmirror_testing.samples.packing import Packer
from medmirror_testing.samples.study import study
from medmirror_testing.samples.text import FIRST_PMID

_DATE = (2026, 1, 24, 0, 0, 0)
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


class Hostile(NamedTuple):
    """A kind of bad input.

    *outcome* is ``refused`` (nothing but the reason comes of it), ``partial`` (what stands before the damage may be
    loaded; the file is reported as broken) or ``rejects`` (the file is loaded but for *bad* records). *good* records
    are sound.
    """

    name: str
    file: str
    outcome: Literal["refused", "partial", "rejects"]
    good: int
    bad: int
    make: Callable[[], bytes]


def write_hostile(folder: Path, kinds: str | None = None) -> dict[str, Path]:
    """Write every file of ``HOSTILE`` (or the one named *kinds*) to *folder*; return the paths by name."""
    paths = {}
    for kind in HOSTILE:
        if kinds in (None, kind.name):
            paths[kind.name] = folder / kind.file
            paths[kind.name].write_bytes(kind.make())
    return paths


def write_huge_citation(path: Path, megabytes: int, *, pmid: int = FIRST_PMID + 50) -> Path:
    """Write three citations, the second with a reference list of about this size, without holding it in memory."""
    reference = ("<Reference><Citation>" + "A long reference. " * 50 + "</Citation></Reference>").encode()
    head, mark, tail = _article(pmid + 1).rpartition("</PubmedData>")
    with Packer(path) as packer:
        packer.write(f"{_XML}<PubmedArticleSet>\n{_article(pmid)}{head}<ReferenceList>".encode())
        for _ in range(megabytes):
            packer.write(reference * (1_000_000 // len(reference) + 1))
        packer.write(f"</ReferenceList>{mark}{tail}{_article(pmid + 2)}</PubmedArticleSet>\n".encode())
    return path


def write_huge_study(path: Path, megabytes: int) -> Path:
    """Write an array of three studies, the second with a description of about this size, streaming."""
    first, second, third = (encode(study(n, seed=0, locations=2)) for n in range(3))
    head, mark, tail = second.partition(b'"briefSummary":"')
    with Packer(path) as packer:
        packer.write(b"[\n" + first + b",\n" + head + mark)
        for _ in range(megabytes * 16):
            packer.write(b"A long sentence of it. ".ljust(64) * 1024)
        packer.write(tail + b",\n" + third + b"\n]\n")
    return path


def _article(pmid: int) -> str:
    return citation(pmid, seed=0)


def _set(*records: str, doctype: str = "") -> bytes:
    return f"{_XML}{doctype}<PubmedArticleSet>\n{''.join(records)}</PubmedArticleSet>\n".encode()


def _citations(count: int, start: int = FIRST_PMID + 100) -> Iterator[str]:
    return (_article(start + n) for n in range(count))


def _gzip(data: bytes) -> bytes:
    packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
    return bytes(packer.compress(data) + packer.flush())


def _truncated_gzip() -> bytes:
    whole = _gzip(_set(*_citations(40)))
    return whole[: len(whole) // 2]


def _corrupt_gzip() -> bytes:
    whole = bytearray(_gzip(_set(*_citations(40))))
    whole[-8:-4] = b"\0\0\0\0"  # the checksum
    return bytes(whole)


def _truncated_xml() -> bytes:
    return _set(*_citations(10))[:-2_000]


def _bad_middle(find: str, put: str) -> bytes:
    records = list(_citations(3))
    records[1] = records[1].replace(find, put, 1)
    return _set(*records)


def _entity_bomb() -> bytes:
    lines = ['<!ENTITY a0 "lol">'] + [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)]
    record = _article(FIRST_PMID + 100).replace("<Language>", "<Language>&a9;", 1)
    return _set(record, doctype=f"<!DOCTYPE PubmedArticleSet [{''.join(lines)}]>\n")


def _outside_entity() -> bytes:
    record = _article(FIRST_PMID + 100).replace("<Language>", "<Language>&x;", 1)
    return _set(record, doctype='<!DOCTYPE PubmedArticleSet [<!ENTITY x SYSTEM "file:///etc/hostname">]>\n')


def _zip(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()


def _studies(count: int) -> list[bytes]:
    return [encode(study(n, seed=0, locations=1)) for n in range(count)]


def _array(*records: bytes) -> bytes:
    return b"[\n" + b",\n".join(records) + b"\n]\n"


def _study_with(find: bytes, put: bytes) -> bytes:
    first, second, third = _studies(3)
    return _array(first, second.replace(find, put, 1), third)


_TITLE = b'"briefTitle":"'

HOSTILE = (
    Hostile("empty", "pubmed26n9001.xml", "refused", 0, 0, lambda: b""),
    Hostile("empty gzip", "pubmed26n9002.xml.gz", "refused", 0, 0, lambda: _gzip(b"")),
    Hostile("html", "pubmed26n9003.xml", "refused", 0, 0, lambda: b"<!DOCTYPE html><html><body>503</body></html>"),
    Hostile("truncated gzip", "pubmed26n9004.xml.gz", "partial", 40, 0, _truncated_gzip),
    Hostile("wrong checksum", "pubmed26n9005.xml.gz", "partial", 40, 0, _corrupt_gzip),
    Hostile("truncated xml", "pubmed26n9006.xml", "partial", 9, 0, _truncated_xml),
    Hostile("entity bomb", "pubmed26n9007.xml", "refused", 0, 0, _entity_bomb),
    Hostile("outside entity", "pubmed26n9008.xml", "refused", 0, 0, _outside_entity),
    Hostile("open tag", "pubmed26n9009.xml", "rejects", 2, 1, lambda: _bad_middle("</Article>", "")),
    Hostile("no pmid", "pubmed26n9010.xml", "rejects", 2, 1, lambda: _bad_middle("<PMID", "<PMIDD")),
    Hostile("nul character", "pubmed26n9011.xml", "rejects", 2, 1, lambda: _bad_middle("<Language>", "<Language>\0")),
    Hostile("nul reference", "pubmed26n9012.xml", "rejects", 2, 1, lambda: _bad_middle("<Language>", "<Language>&#0;")),
    Hostile(
        "invalid utf-8",
        "pubmed26n9013.xml",
        "rejects",
        2,
        1,
        lambda: _bad_middle("<Language>", "<Language>@@").replace(b"@@", b"\xff\xfe"),
    ),
    Hostile("evil path", "studies-evil.zip", "refused", 0, 0, lambda: _zip(("../../evil.json", _studies(1)[0]))),
    Hostile("absolute path", "studies-absolute.zip", "refused", 0, 0, lambda: _zip(("/tmp/evil.json", _studies(1)[0]))),
    Hostile("zip bomb", "studies-bomb.zip", "refused", 0, 0, lambda: _zip(("NCT06000000.json", b" " * (64 << 20)))),
    Hostile("not a zip", "studies-not.zip", "refused", 0, 0, lambda: b"PK\x03\x04 and nothing more"),
    Hostile("empty json", "ctg-empty.json", "refused", 0, 0, lambda: b""),
    Hostile("truncated json", "ctg-truncated.json", "partial", 2, 0, lambda: _array(*_studies(3))[:-3_000]),
    Hostile("broken json", "ctg-broken.json", "rejects", 2, 1, lambda: _study_with(_TITLE, b'"briefTitle":@"')),
    Hostile("lone surrogate", "ctg-surrogate.json", "rejects", 2, 1, lambda: _study_with(_TITLE, _TITLE + b"\\ud800 ")),
    Hostile("nul escape", "ctg-nul.json", "rejects", 2, 1, lambda: _study_with(_TITLE, _TITLE + b"\\u0000")),
    Hostile("invalid utf-8 json", "ctg-utf8.json", "rejects", 2, 1, lambda: _study_with(_TITLE, _TITLE + b"\xff")),
    Hostile(
        "duplicate key",
        "ctg-duplicate.json",
        "rejects",
        2,
        1,
        lambda: _study_with(_TITLE, b'"briefTitle":"",' + _TITLE),
    ),
    Hostile("no nct id", "ctg-noid.json", "rejects", 2, 1, lambda: _study_with(b'"nctId"', b'"nctid"')),
    Hostile(
        "deep nesting",
        "ctg-deep.json",
        "rejects",
        2,
        1,
        lambda: _study_with(_TITLE, b'"x":' + b"[" * 50_000 + b"]" * 50_000 + b"," + _TITLE),
    ),
    Hostile(
        "api error",
        "drug-label-error.json",
        "refused",
        0,
        0,
        lambda: b'{"error":{"code":"NOT_FOUND","message":"No matches found!"}}',
    ),
)
"""Every kind of bad input that ``write_hostile`` makes."""
