"""A record that is nested without end costs itself: no time, no memory, no record beside it."""

from __future__ import annotations

import io

import pytest

from medmirror import sources
from medmirror.model import Flaw, Item
from medmirror.readers.json import blocks, native, outlines
from medmirror.readers.json.scan import DEPTH

LONG = b"123456789012345678901234567890"  # a number that is read a second time, exactly
STUDY = b'{"protocolSection":{"identificationModule":{"nctId":"NCT%08d"}},"x":%s,"n":' + LONG + b"}"
PATIENT = b'{"resourceType":"Patient","id":"%08d","x":%s,"n":' + LONG + b"}"
GUEST = (
    b'{"id":"%d","created_at":"2024-01-01T00:00:00Z","updated_at":"2024-01-01T00:00:00Z","first_name":"a","x":%s,"n":'
)
FILES = {
    "clinicaltrials": (STUDY, b'{"studies":[%s,%s],"more":%s}'),
    "openfda": (b'{"product_id":"%d","product_ndc":"1","x":%s,"n":' + LONG + b"}", b'{"results":[%s,%s],"more":%s}'),
    "fhir": (PATIENT, b"%s\n%s\n"),
    "cliniko": (GUEST + LONG + b"}", b'{"patients":[%s,%s],"links":{},"total_entries":2,"more":%s}'),
}
NESTS = {"arrays": (b"[", b"1", b"]"), "objects": (b'{"a":', b"1", b"}"), "both": (b'[{"a":', b"1", b"}]")}


def nest(kind: str, depth: int) -> bytes:
    begin, value, end = NESTS[kind]
    depth //= 2 if kind == "both" else 1
    return begin * depth + value + end * depth


def outcome(name: str, data: bytes) -> tuple[int, list[str]]:
    """(how many rows *data* gives, the reasons of all others)."""
    source, rows, reasons = sources.get(name), 0, []
    context = {**source.context("a.json", data[: 1 << 16], lambda: io.BytesIO(data), {}), "organization": "org_1"}
    for block in source.split(io.BytesIO(data), context, 1 << 20, 64 << 20):
        found = [block] if isinstance(block, Flaw) else list(source.items(block.data, block.ordinal, context))
        reasons += [entry.reason for entry in found if isinstance(entry, Flaw)]
        for item in found:
            if isinstance(item, Item) and not isinstance(block, Flaw):
                feed = source.feed(item.feed)
                (row,) = source.rows(feed, block.data, [item])
                assert isinstance(row, bytes), row
                source.record(feed, block.data, item)
                rows += 1
    return rows, reasons


@pytest.mark.parametrize("library", [True, False], ids=["C", "Python"])
@pytest.mark.parametrize("kind", NESTS)
@pytest.mark.parametrize("name", FILES)
def test_a_nested_record_costs_itself(name: str, kind: str, library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not library:
        monkeypatch.setattr(native, "library", lambda: None)
    record, file = FILES[name]
    for depth, good in ((DEPTH - 4, 2), (DEPTH + 2, 1), (1000, 1), (1022, 1), (20_000, 1)):
        more = (nest(kind, depth),) if file.count(b"%s") == 3 else ()
        data = file % (record % (2, b"1"), record % (1, nest(kind, depth)), *more)
        rows, reasons = outcome(name, data)
        assert (rows, len(reasons)) == (good, 2 - good), depth
        assert all("within one another" in reason for reason in reasons)


@pytest.mark.parametrize("kind", NESTS)
def test_what_stands_behind_a_nest_is_found(kind: str) -> None:
    deep = nest(kind, 100_000)
    data = (
        b'{"before":'
        + deep
        + b',"results":[{"product_id":"1","x":'
        + deep
        + b'}],"meta":{"last_updated":"2026-01-31"}}'
    )
    assert outlines.value_at(io.BytesIO(data), "meta") == {"last_updated": "2026-01-31"}
    outline = outlines.outline(io.BytesIO(data), frozenset(("results",)), frozenset())
    assert len(list(blocks.split(io.BytesIO(data), outline.kind, outline.key, 1 << 20, 1 << 22))) == 1


@pytest.mark.parametrize("depth", [100, 300, 1500, 50_000])
def test_a_nested_citation_costs_itself(depth: int) -> None:
    article = b"<PubmedArticle><MedlineCitation><PMID>%d</PMID>%s</MedlineCitation></PubmedArticle>"
    title = b"<Article><ArticleTitle>%s</ArticleTitle></Article>"
    for inner in (title % (b"<i>" * depth + b"</i>" * depth), b"<X>" * depth + b"</X>" * depth, b"<X>" * depth):
        data = b"<PubmedArticleSet>%s%s</PubmedArticleSet>" % (article % (1, inner), article % (2, title % b"t"))
        source = sources.get("pubmed")
        (block,) = source.split(io.BytesIO(data), {"root": "PubmedArticleSet"}, 1 << 20, 1 << 22)
        assert not isinstance(block, Flaw)
        items = [item for item in source.items(block.data, 0, {"root": "PubmedArticleSet"}) if isinstance(item, Item)]
        rows = source.rows(source.feed("citation"), block.data, items)
        assert isinstance(rows[-1], bytes)
