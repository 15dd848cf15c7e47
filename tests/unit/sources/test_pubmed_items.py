"""PubMed's items: their keys, their versions and what is broken; and what makes a file PubMed's."""

from __future__ import annotations

import gzip
import io
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmirror.errors import LayoutChanged, UnsafeFile
from medmirror.ingest.order import Rank, newer, place
from medmirror.model import Block, Flaw, Item
from medmirror.sources.pubmed import FEED, SOURCE

HEAD = b'<?xml version="1.0" ?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD" "https://dtd.nlm.nih.gov/x.dtd">\n'


def article(pmid: int, inside: str = "", version: int = 1) -> bytes:
    return (
        '<PubmedArticle>\n  <MedlineCitation Status="MEDLINE" Owner="NLM">\n    '
        f'<PMID Version="{version}">{pmid}</PMID>{inside}'
        "</MedlineCitation>\n</PubmedArticle>\n"
    ).encode()


def article_set(*parts: bytes) -> bytes:
    return HEAD + b"<PubmedArticleSet>\n" + b"".join(parts) + b"</PubmedArticleSet>\n"


def deletions(*pmids: int) -> bytes:
    return (
        b"<DeleteCitation>" + b"".join(b'\n<PMID Version="1">%d</PMID>' % pmid for pmid in pmids) + b"</DeleteCitation>"
    )


def day(name: str, year: int, month: int, of_month: int) -> str:
    return f"<{name}><Year>{year}</Year><Month>{month:02}</Month><Day>{of_month}</Day></{name}>"


def read(data: bytes, name: str = "pubmed26n0007.xml.gz", wanted: int = 1 << 16) -> list[Item | Flaw]:
    """All items of a file, with the ordinals of the whole file."""
    facts = SOURCE.context(name, data[:1000], lambda: io.BytesIO(data), {})
    found: list[Item | Flaw] = []
    for block in SOURCE.split(io.BytesIO(data), facts, wanted, 1 << 20):
        assert isinstance(block, Block)
        inside = SOURCE.items(block.data, block.ordinal, facts)
        found += [item._replace(ordinal=item.ordinal + block.ordinal, start=0, end=0) for item in inside]
    return found


def living(data: bytes, name: str = "pubmed26n0007.xml.gz") -> Item:
    (item,) = read(data, name)
    assert isinstance(item, Item)
    return item


def ranks(found: list[Item | Flaw], load: int = 1) -> list[Rank]:
    """What orders the items of a file that comes in that load."""
    items = [item for item in found if isinstance(item, Item)]
    return [Rank(item.version, item.tie, place(load, item.ordinal)) for item in items]


def versions(found: list[Item | Flaw]) -> list[int]:
    return [item.version for item in found if isinstance(item, Item)]


def test_key_is_the_citations_own_pmid_and_its_version() -> None:
    other = "<CommentsCorrections><PMID Version='9'>8</PMID></CommentsCorrections>"
    other = f"<CommentsCorrectionsList>{other}</CommentsCorrectionsList>"
    assert living(article_set(article(30271887, other, version=4))).key == (30271887, 4)
    assert living(article_set(article(5).replace(b' Version="1"', b""))).key == (5, 1)
    assert living(article_set(article(5).replace(b'Version="1"', b"Version = '3'"))).key == (5, 3)
    assert living(article_set(article(5).replace(b"<PMID", b"<!-- <PMID>6</PMID> --><PMID"))).key == (5, 1)


def test_item_without_a_key_is_a_flaw_among_whole_neighbours() -> None:
    broken = article(2).replace(b"2</PMID>", b"two</PMID>"), article(3).replace(b"</PMID>", b"")
    large = article(4, version=99999)
    found = read(article_set(article(1), *broken, large, article(5)))
    assert [item.key if isinstance(item, Item) else item.error for item in found] == [
        (1, 1),
        "InvalidRecord",
        "ParseError",
        "InvalidRecord",
        (5, 1),
    ]
    assert [item.ordinal for item in found] == [0, 1, 2, 3, 4]


@given(st.lists(st.integers(1, 99), max_size=12), st.integers(1, 3000))
@settings(max_examples=40, deadline=None)
def test_any_chunk_size_gives_the_same_items(pmids: list[int], wanted: int) -> None:
    data = article_set(*map(article, pmids), deletions(7, 8, 9))
    found = read(data, wanted=wanted)
    assert found == read(data)
    assert [item.key[0] for item in found if isinstance(item, Item)] == [*pmids, 7, 8, 9]


def test_later_file_wins_whatever_its_year_and_then_the_later_place() -> None:
    data = article_set(article(1), article(1))
    in_order = ["medline98n0999.xml.gz", "medline16n0902.xml", "pubmed25n1500.xml.gz", "pubmed26n0001.xml.gz"]
    in_order += ["pubmed26n1334.xml.gz", "pubmed26n1335.xml.gz", "pubmed27n0001.xml"]
    found = [rank for name in in_order for rank in ranks(read(data, name))]
    for (_, earlier), (number, later) in pairwise(enumerate(found)):
        assert newer(later, earlier, series=True), number
        assert not newer(earlier, later, series=True), number
    assert found[-1].version < 1 << 63


def test_a_file_that_comes_again_with_other_content_counts_wherever_in_it_a_record_stands() -> None:
    first = ranks(read(article_set(article(1), article(2)), "pubmed26n1400.xml.gz"), load=1)
    again = ranks(read(article_set(article(2), article(1)), "pubmed26n1400.xml.gz"), load=2)
    assert newer(again[0], first[1], series=True)
    assert newer(again[1], first[0], series=True)
    assert newer(ranks(read(article_set(article(1)), "pubmed26n1401.xml.gz"), load=1)[0], again[1], series=True)


def test_deletion_outranks_its_own_file_and_no_later_one() -> None:
    data = article_set(article(1), deletions(1, 2))
    first, gone, other = read(data, "pubmed26n1335.xml.gz")
    assert isinstance(gone, Item)
    assert isinstance(other, Item)
    assert gone.deleted
    assert (gone.key, other.key) == ((1, 1), (2, 1))
    living, deletion, _ = ranks([first, gone, other])
    assert newer(deletion, living, series=True)
    assert newer(ranks(read(data, "pubmed26n1336.xml.gz"))[0], deletion, series=True)
    assert [item.ordinal for item in (first, gone, other)] == [0, 1, 2]


def test_odd_deletion_lists_lose_nothing() -> None:
    odd = b'<!-- <PMID>9</PMID> --><PMID>3</PMID><PMID New="1" Version="2"> 4 </PMID><PMID>x</PMID>'
    lists = b"<DeleteCitation>" + odd + b"</DeleteCitation>"
    found = read(article_set(lists))
    assert [item.key if isinstance(item, Item) else item.error for item in found] == [(3, 1), (4, 2), "InvalidRecord"]


def test_a_citation_fetched_alone_is_ordered_by_the_day_it_was_revised() -> None:
    def of(day_of_month: int, name: str) -> Rank:
        dates = day("DateCompleted", 2020, 1, 1) + day("DateRevised", 2026, 2, day_of_month)
        return ranks(read(article_set(article(1, dates)), name))[0]

    alone = of(10, "efetch.xml")
    for name in ("pubmed26n0001.xml.gz", "pubmed26n1999.xml.gz", "pubmed27n0001.xml.gz"):
        for rank, wins in ((of(9, name), False), (of(10, name), True), (of(11, name), True)):
            assert newer(rank, alone, series=True) is wins
            assert newer(alone, rank, series=True) is not wins
    assert newer(of(11, "efetch.xml"), alone, series=True)
    assert not newer(of(9, "efetch.xml"), alone, series=True)


def test_a_citation_fetched_alone_is_revived_only_after_the_year_of_its_deletion() -> None:
    (deletion,) = ranks(read(article_set(deletions(1)), "pubmed26n1400.xml.gz"))
    for year, wins in ((2026, False), (2027, True)):
        data = article_set(article(1, day("DateRevised", year, 12 if year == 2026 else 1, 1)))
        assert newer(ranks(read(data, "efetch.xml"))[0], deletion, series=True) is wins


@pytest.mark.parametrize("inside", ["", day("DateRevised", 2020, 13, 1), day("DateRevised", 2020, 12, 32)])
def test_citation_without_a_usable_date_yields_to_every_other(inside: str) -> None:
    assert ranks(read(article_set(article(1, inside)), "x.xml")) == [Rank(0, 0, place(1, 0))]


def test_deletions_without_a_number_outrank_the_known_series() -> None:
    assert versions(read(article_set(deletions(1)), "x.xml")) > versions(
        read(article_set(article(1)), "pubmed26n1999.xml")
    )


def test_old_and_book_documents_are_read() -> None:
    citation = article(7).split(b"<PubmedArticle>\n")[1].split(b"</PubmedArticle>")[0]
    book = b"<BookDocument><PMID>8</PMID></BookDocument>"
    documents = {
        b"<MedlineCitationSet>" + citation + citation + deletions(1) + b"</MedlineCitationSet>": [7, 7, 1],
        citation: [7],
        b"<PubmedArticleSet><PubMedArticle>" + citation + b"</PubMedArticle></PubmedArticleSet>": [7],
        b"<PubmedBookArticleSet><PubmedBookArticle>" + book + b"</PubmedBookArticle></PubmedBookArticleSet>": [8],
        b"<BookDocumentSet>" + book + b"<DeleteDocument><PMID>9</PMID></DeleteDocument></BookDocumentSet>": [8, 9],
        article(7): [7],
        book: [8],
        HEAD + b"<PubmedArticleSet>\n</PubmedArticleSet>": [],
    }
    for data, pmids in documents.items():
        assert [item.key[0] for item in read(data, "x.xml") if isinstance(item, Item)] == pmids
        assert SOURCE.recognise("x.xml", data[:65536])


def test_other_files_are_refused() -> None:
    for data in (b"<html><body>Error</body></html>", b"<ERROR>no</ERROR>", b"{}"):
        assert not SOURCE.recognise("x.xml", data)
        with pytest.raises(LayoutChanged):
            read(data, "pubmed26n0001.xml.gz")
    with pytest.raises(UnsafeFile):
        read(b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><PubmedArticleSet/>')
    assert SOURCE.recognise("pubmed26n0001.xml.gz", gzip.compress(b"")[:3])
    assert not SOURCE.recognise("pubmed26n0001.xml.gz.md5", b"MD5(pubmed26n0001.xml.gz)= 0")


def test_malformed_item_costs_one_error_and_no_neighbour() -> None:
    bad = article(2, "<Article><ArticleTitle>a & b</ArticleTitle></Article>")
    data = article_set(article(1), bad, article(3))
    facts: Any = SOURCE.context("x.xml", data, lambda: io.BytesIO(data), {})
    (block,) = SOURCE.split(io.BytesIO(data), facts, 1 << 20, 1 << 20)
    assert isinstance(block, Block)
    items = [item for item in SOURCE.items(block.data, 0, facts) if isinstance(item, Item)]
    rows = SOURCE.rows(FEED, block.data, items)
    assert [type(row).__name__ for row in rows] == ["bytes", "ParseError", "bytes"]
