"""PubMed baseline and update files, as ``pubmed26n0001.xml.gz`` with its ``.md5`` beside it."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from medmirror_testing.samples.book import book_article
from medmirror_testing.samples.citation import citation
from medmirror_testing.samples.packing import Packer
from medmirror_testing.samples.text import FIRST_PMID

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st '
    'January {year}//EN" '
    '"https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_{short}0101.dtd">\n<PubmedArticleSet>\n'
)
_SHOWCASE_ARTICLE, _SHOWCASE_BOOK, _SECOND_VERSION = 3, 5, 8
_INLINE = frozenset(["i", "b", "u", "sub", "sup", "DispFormula"])
_TAGS = re.compile(r"(<[^>]*>)")


class PubmedFile(NamedTuple):
    """A PubMed file that was written. *size* counts decoded bytes, *records* the articles and books, versions
    included."""

    path: Path
    records: int
    size: int
    changed: tuple[int, ...]
    revised: tuple[int, ...]
    deleted: tuple[int, ...]


def write_pubmed(
    path: Path,
    citations: int,
    *,
    seed: int = 0,
    first_pmid: int = FIRST_PMID,
    year: int = 26,
    number: int = 1,
    change: float = 0.0,
    revisions: Sequence[int] = (),
    deletes: Sequence[int] = (),
    indent: bool = False,
    level: int = 1,
) -> PubmedFile:
    """Write a file of the PMIDs *first_pmid* and on, and NLM's ``.md5`` beside it.

    *path* is a file (plain unless it ends in ``.gz``) or a folder, in which the file gets NLM's name. A record
    depends on *seed* and its PMID alone, so two files with other *change* differ in exactly that share of their
    records. *revisions* are PMIDs of earlier files that come again with new content (an update file), *deletes* go to
    DeleteCitation. From about a dozen citations on, a file has also a second version of one PMID, a book, and a
    record each of articles and books with every element and attribute there is. *indent* prints it the way NLM did
    until 2023.
    """
    if path.is_dir():
        path = path / f"pubmed{year:02d}n{number:04d}.xml.gz"
    pmids = range(first_pmid, first_pmid + citations)
    articles = [pmid for index, pmid in enumerate(pmids) if not _is_book(index, pmid)]
    changed = frozenset(
        random.Random(f"{seed} changed").sample(articles, min(len(articles), round(citations * change)))
    )
    records = size = 0
    with Packer(path, level) as packer:
        packer.write(_HEAD.format(year=2000 + year - (year > 25), short=min(year, 25)).encode())
        for record in _records(pmids, seed, changed, revisions):
            text = f"{_indented(record)}\n" if indent else record
            packer.write(text.encode())
            records += 1
        if deletes:
            text = "".join(f'<PMID Version="1">{pmid}</PMID>' for pmid in deletes)
            text = f"<DeleteCitation>{text}</DeleteCitation>"
            packer.write((f"{_indented(text)}\n" if indent else text).encode())
        packer.write(b"</PubmedArticleSet>\n")
        size = packer.size
    write_md5(path)
    return PubmedFile(path, records, size, tuple(sorted(changed)), tuple(revisions), tuple(deletes))


def write_md5(path: Path) -> Path:
    """Write the checksum of *path* beside it in NLM's form; return its path."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "md5").hexdigest()
    target = path.with_name(path.name + ".md5")
    target.write_text(f"MD5({path.name})= {digest}\n", encoding="ascii")
    return target


def _is_book(index: int, pmid: int) -> bool:
    return index == _SHOWCASE_BOOK or pmid % 2_000 == 1_500


def _records(pmids: range, seed: int, changed: frozenset[int], revisions: Sequence[int]) -> Iterator[str]:
    for index, pmid in enumerate(pmids):
        if _is_book(index, pmid):
            yield book_article(pmid, seed=seed, showcase=index == _SHOWCASE_BOOK)
            continue
        yield citation(pmid, seed=seed, revision=int(pmid in changed), showcase=index == _SHOWCASE_ARTICLE)
        if index == _SECOND_VERSION or pmid % 3_000 == 1_000:
            yield citation(pmid, seed=seed, version=2)
    for pmid in revisions:
        yield citation(pmid, seed=seed, revision=2)


def _indented(record: str) -> str:
    """*record* with a line for each element, two spaces a level; text and what stands inside it are left alone."""
    out: list[str] = []
    depth = 1
    after_text = False
    opened = False  # the last tag opened an element that has no child yet
    for piece in _TAGS.split(record):
        if not piece:
            continue
        if not piece.startswith("<"):
            out.append(piece)
            after_text = True
            continue
        name = piece.strip("</>").split(" ", 1)[0]
        closing = piece[1] == "/"
        if name in _INLINE or name.startswith("mml:"):
            out.append(piece)
            after_text = True
        elif piece.endswith("/>"):
            out.append(f"\n{'  ' * depth}{piece}")
            after_text = opened = False
        elif closing:
            depth -= 1
            out.append(piece if after_text or opened else f"\n{'  ' * depth}{piece}")
            after_text = opened = False
        else:
            out.append(f"\n{'  ' * depth}{piece}")
            depth += 1
            after_text, opened = False, True
    return "".join(out).lstrip("\n")
