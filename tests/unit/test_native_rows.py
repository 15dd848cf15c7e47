"""The compiled reader gives the reference reader's bytes, or says that it cannot; whatever the bytes are."""

from __future__ import annotations

import gzip
import io
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmirror import native
from medmirror.errors import RecordError
from medmirror.model import Block, Item
from medmirror.native.program import Program
from medmirror.readers import xmlcut, xmlrecord
from medmirror.readers.xmllayout import Element
from medmirror.sources.pubmed import FEED, SHAPES, SOURCE, SPEC

REAL = Path(__file__).parents[3] / "shared" / "data" / "pubmed"

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled reader was not built, or is switched off")

program = Program(SPEC)
reference = xmlrecord.row_maker(SPEC)


def native_rows(items: list[bytes]) -> list[bytes | None]:
    ends = [0]
    for item in items:
        ends.append(ends[-1] + len(item))
    made = program.rows(b"".join(items), ends[:-1], ends[1:])
    assert made is not None
    return made


def reference_row(item: bytes) -> bytes | str:
    try:
        return reference(item)
    except RecordError as error:
        return type(error).__name__


def agree(items: list[bytes]) -> int:
    """Check that each item has the same row by both readers, or none by the native one; return how many it made."""
    made = native_rows(items)
    for item, row in zip(items, made, strict=True):
        assert row is None or row == reference_row(item), item
    return sum(row is not None for row in made)


# --- synthetic items out of the layout itself

_TEXTS = st.one_of(
    st.sampled_from(
        ["", "x", "1979", "Jan", "12", "31", "Y", "N", "1979 Nov-Dec", "a &amp; b", "&#xe9;&#10;é", "A\r\nB"]
    ),
    st.sampled_from(
        ["<i>x</i>y", "<sub/>", "<mml:mi a='1'>q</mml:mi>", 'say "\\"', "]]&gt;", "> x", "😀\t", "<!-- c -->", "&nbsp;"]
    ),
    st.text(st.characters(exclude_characters="<&\r", exclude_categories=("Cs", "Cc")), max_size=40),
)
_VALUES = st.one_of(
    st.sampled_from(["Y", "N", "1", "doi", "pmc", "a&lt;b", "", "&#34;"]), st.text("abc éN1 ", max_size=8)
)


@st.composite
def xml(draw: st.DrawFn, element: Element, depth: int = 0) -> str:
    """An element as its rule allows it, now and then with something that the rule does not know."""
    names = draw(
        st.lists(
            st.sampled_from([*element.attributes, "Odd"] if element.attributes else ["Odd"]), unique=True, max_size=3
        )
    )
    names = [name for name in names if name != "Odd" or draw(st.integers(0, 30)) == 0]
    attributes = "".join(f' {name}="{draw(_VALUES)}"' for name in names)
    if element.text:
        inside = draw(_TEXTS)
    elif element.children and depth < 9:
        known = list(element.children.values())
        chosen = draw(st.lists(st.sampled_from(known), max_size=5 if depth else 8))
        order = sorted(chosen, key=known.index) if draw(st.booleans()) else chosen
        gap = draw(st.sampled_from(["", "\n  ", "<?pi x?>"]))
        inside = gap.join(["", *(draw(xml(child, depth + 1)) for child in order), ""])
    else:
        inside = ""
    return f"<{element.name}{attributes}>{inside}</{element.name}>" if inside else f"<{element.name}{attributes}/>"


@given(st.lists(st.sampled_from(list(SPEC.roots.values())).flatmap(xml), min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_native_and_reference_agree_on_synthetic_items(items: list[str]) -> None:
    agree([re.sub(r"^<(\w+)[^>]*?/?>", r"\g<0>", item).encode() for item in items])


def test_a_full_citation_is_made_natively() -> None:
    article = "<Article PubModel='Print'><ArticleTitle>a &lt; <i>b</i></ArticleTitle><Language>eng</Language></Article>"
    dates = "<DateRevised><Year>2020</Year><Month>2</Month><Day>29</Day></DateRevised>"
    item = (
        f'<PubmedArticle><MedlineCitation><PMID Version="1">1</PMID>{dates}{article}</MedlineCitation></PubmedArticle>'
    )
    assert agree([item.encode()] * 3) == 3


# --- hostile bytes

_SPLINTERS = [
    *(
        b"<",
        b">",
        b"&",
        b"&amp;",
        b"&#0;",
        b"&#xD;",
        b"&bogus;",
        b"&eacute;",
        b'"',
        b"\\",
        b"\0",
        b"\r\n",
        b"\xff",
        b"]]>",
    ),
    *(
        b"\xed\xa0\x80",
        b"\xef\xbf\xbf",
        b"<![CDATA[x<y]]>",
        b"<!--",
        b"<?pi?>",
        b"<i>a</i>",
        b"<sub/>",
        b"<New>x</New>",
    ),
    *(b' a="b"', b"/", b"<PMID>5</PMID>", b"<Day>30</Day>", b"<Author>", b"</Author>", b"<Keyword/>", b"<x:y>z</x:y>"),
]


def mutated(item: bytes, chance: random.Random) -> bytes:
    data = bytearray(item)
    for _ in range(chance.choice([1, 1, 2, 4])):
        at, way = chance.randrange(len(data) + 1), chance.random()
        if way < 0.5:
            data[at:at] = chance.choice(_SPLINTERS)
        elif way < 0.65:
            del data[at : at + chance.choice([1, 3, 40])]
        elif way < 0.8:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif way < 0.95:
            other = chance.randrange(len(data) + 1)
            data[at:at] = data[other : other + 80]
        else:
            del data[at:]
        if not data:
            break
    return bytes(data)


@given(xml(SPEC.roots["PubmedArticle"]), st.integers(0, 1 << 30))
@settings(max_examples=40, deadline=None)
def test_mutations_are_read_alike_or_flagged(item: str, seed: int) -> None:
    chance = random.Random(seed)
    agree([mutated(item.encode(), chance) for _ in range(8)])


def test_every_beginning_of_an_item_is_flagged() -> None:
    item = b'<PubmedArticle><MedlineCitation Owner="NLM"><PMID>1</PMID><!-- --></MedlineCitation></PubmedArticle>'
    assert not any(native_rows([item[:end] for end in range(len(item))]))


@pytest.mark.parametrize("tag", ["i", "ReferenceList", "Title"])
def test_endless_nesting_is_flagged(tag: str) -> None:
    data = f"<PubmedArticle><PubmedData>{f'<{tag}>' * 100_000}".encode()
    title = f"<PubmedArticle><MedlineCitation><Article><ArticleTitle>{f'<{tag}>' * 100_000}".encode()
    assert native_rows([data, title]) == [None, None]


def test_offsets_that_are_not_of_the_block_are_flagged() -> None:
    assert program.rows(b"<PubmedArticle/>", [-1, 0, 5], [5, 99, 2]) == [None] * 3


# --- the whole source with and without


def test_rows_are_the_same_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID></MedlineCitation></PubmedArticle>" for pmid in "123"]
    data = ("<PubmedArticleSet>" + "\n".join([*items, "<PubmedArticle>", items[0]]) + "</PubmedArticleSet>").encode()

    def everything() -> tuple[list[object], list[object]]:
        (block,) = SOURCE.split(io.BytesIO(data), {"root": "PubmedArticleSet"}, 1 << 20, 1 << 20)
        assert isinstance(block, Block)
        found = list(SOURCE.items(block.data, 0, {"root": "PubmedArticleSet"}))
        return [block, *found], list(SOURCE.rows(FEED, block.data, [item for item in found if isinstance(item, Item)]))

    fast = everything()
    monkeypatch.setenv("MEDMIRROR_NATIVE", "0")
    native.library.cache_clear()
    monkeypatch.setattr("medmirror.sources.pubmed._PROGRAM", Program(SPEC))
    try:
        assert not native.available()
        assert everything() == fast
    finally:
        monkeypatch.undo()
        native.library.cache_clear()


def test_library_and_package_name_the_same_interface() -> None:
    source = (Path(native.__file__).parent / "xmlrows.c").read_text()
    found = re.search(r"mm_abi\(void\) \{ return (\d+); \}", source)
    assert found
    assert int(found[1]) == native.ABI


def _real_items(limit: int) -> Iterator[tuple[Path, list[bytes]]]:
    for path in sorted(REAL.rglob("*.xml*")):
        if path.suffix == ".md5":
            continue
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        facts = SOURCE.context(path.name, data[:65536], lambda data=data: io.BytesIO(data))
        for block in SOURCE.split(io.BytesIO(data[: 1 << 30]), facts, 1 << 20, 1 << 26):
            assert isinstance(block, Block)
            shape = SHAPES[str(facts["root"])]
            pieces = [piece for piece in xmlcut.pieces(block.data, shape) if piece.name not in shape.lists]
            assert all(piece.name for piece in pieces)
            yield path, [block.data[piece.start : piece.end] for piece in pieces][:limit]


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason="no real files: ../shared/data/pubmed is not there")
def test_native_and_reference_agree_on_the_real_files() -> None:
    count = made = 0
    chance = random.Random(1)
    for _, items in _real_items(limit=30):
        count += len(items)
        made += agree(items)
        agree([mutated(item, chance) for item in items[:4]])
    assert count > 2000
    assert made > 0.99 * count
