"""The compiled reader gives the reference reader's bytes, or says that it cannot; whatever the bytes are."""

from __future__ import annotations

import gzip
import io
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import places
from medmirror import native
from medmirror.errors import RecordError
from medmirror.model import Block, Item
from medmirror.readers.xml import cut as xmlcut
from medmirror.readers.xml import record as xmlrecord
from medmirror.readers.xml.layout import Element
from medmirror.readers.xml.native import Program
from medmirror.sources.pubmed import FEED, SHAPES, SOURCE, SPEC

REAL = places.DATA / "pubmed"

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

_TOKENS = st.sampled_from(
    ["<mml:mi>x</mml:mi>", "<mml:mi>sin</mml:mi>", "<mml:mn>2</mml:mn>", "<mml:mo>=</mml:mo>", "<mml:mi/>", "\n", "t"]
)
_FORMULA = st.recursive(
    _TOKENS,
    lambda inner: st.tuples(
        st.sampled_from(["msup", "msub", "mfrac", "mrow", "msqrt", "mroot", "msubsup", "mtable", "munderover", "Odd"]),
        st.lists(inner, min_size=1, max_size=3).map("".join),
    ).map("<mml:{0[0]}>{0[1]}</mml:{0[0]}>".format),
    max_leaves=6,
).map('<mml:math a="&lt;é">{}</mml:math>'.format)
_PLAIN = st.one_of(
    st.sampled_from(
        ["", "x", "a &amp; b", "&#xe9;&#10;é", "A\r\nB", "<i>x</i>y", "<sub/>", "\n  x\n ", "&#160;10.1/x&#x2009;"]
    ),
    st.recursive(
        st.sampled_from(
            ["", "6", "-3", " 2", "2 ", "n", "n+1", "1,2", "®", "µ", "²", "&lt;", "(a)", "–4", " ", "*", "b_", "^", "y"]
        ),
        lambda inner: st.lists(
            st.one_of(
                inner,
                _FORMULA,
                st.tuples(st.sampled_from(["sup", "sub", "i", "b"]), inner).map("<{0[0]}>{0[1]}</{0[0]}>".format),
            ),
            max_size=4,
        ).map("".join),
        max_leaves=8,
    ),
    st.sampled_from(['say "\\"', "]]&gt;", "> x", "😀\t", " 1979 Nov-Dec ", "&lt;&quot;&apos;&gt;"]),
    st.text(st.characters(exclude_characters="<&\r", exclude_categories=("Cs", "Cc")), max_size=40),
)
_NOISE = st.sampled_from(
    [
        "<!-- c -->",
        "&nbsp;",
        "&no;",
        "]]>",
        "<Odd/>",
        "\x01",
        "<x:y>z</x:y>",
        "<![CDATA[<]]>",
        "<i>",
        "<sup a='1'>2</sup>",
        "<mml:math><mml:msup><mml:mi>x</mml:mi><mml:mn>2</mml:mn></mml:msup></mml:math>",
    ]
)
_PARTS = {
    "Year": st.sampled_from(["1979", "2000", "2024"]),
    "Month": st.sampled_from(["1", "02", "12"]),
    "Day": st.sampled_from(["1", "09", "28"]),
}
_LOOSE = {
    "Year": st.sampled_from(["1979", "2000", " 2000 "]),
    "Month": st.sampled_from(["Jan", "June", "02", "13", "Fa", ""]),
    "Day": st.sampled_from(["1", "30", "31", "00", ""]),
    "MedlineDate": st.sampled_from(["1979 Nov-Dec", "1979 Nov 31-Dec", "2000 Spring", "1998 Dec 29-1999", "1998-1999"]),
}
_ODD_DATES = st.sampled_from(
    ["20001", "x", "Fall 1979", "0999", "2011-05-03", "12-13", "1998 Sept. 3", "19 Jun 1984", ""]
)
_KINDS = {column.name: column.kind for column in SPEC.columns}


def _repeats(element: Element) -> bool:
    """Whether an element may come twice without anything going to `extra`."""
    if element.opens:
        return element.opens.where in ("column", "list")
    return bool(element.text) and all(put.where == "list" or _KINDS.get(put.name) == "text[]" for put in element.text)


@st.composite
def xml(draw: st.DrawFn, element: Element, noise: int = 0, depth: int = 0, parent: Element | None = None) -> str:
    """An element as its rule allows it; one time in *noise* with something that the rule does not know."""

    def odd() -> bool:
        return bool(noise) and draw(st.integers(1, noise)) == 1

    attributes = ""
    for name, puts in element.attributes.items():
        if draw(st.booleans()) and all(put.where != "extra" for put in puts):
            flag = any(put.yes_no for put in puts)
            digits = any(_KINDS.get(put.name, "").startswith("int") for put in puts)
            value = draw(st.sampled_from("YN" if flag else "12" if digits else ["doi", "pmc", "a&lt;é", "", "&#34;"]))
            attributes += f' {name}="{value}"' + f' {name}="{value}"' * odd()
    attributes += ' Odd="1"' * odd()
    if element.name == "PMID":
        inside = draw(st.sampled_from(["1", " 37909814 ", "399296"]))
    elif parent and parent.date and not (noise or not parent.date.exact):
        inside = draw(_PARTS[element.name])
    elif parent and parent.date and element.name in _LOOSE:
        inside = draw(_ODD_DATES if odd() else _LOOSE[element.name])
    elif element.text:
        inside = draw(_PLAIN) + (draw(_NOISE) if odd() else "")
    else:
        inside = draw(_children(element, noise, depth)) if depth < 12 else ""
    inside += draw(_NOISE) if odd() else ""
    return f"<{element.name}{attributes}>{inside}</{element.name}>" if inside else f"<{element.name}{attributes}/>"


@st.composite
def _children(draw: st.DrawFn, element: Element, noise: int, depth: int) -> str:
    known = [child for child in element.children.values() if noise or not child.to_extra]
    known = [child for child in known if noise or child.name != "PubMedData"]  # an old spelling, never beside the new
    needed = [child for child in known if child.name in ("PMID", "MedlineCitation", "BookDocument")]
    needed += [child for child in known if child.name == "Year" and element.date]  # without it the reference reads on
    if element.date and element.date.exact:
        chosen = known
    elif noise:
        chosen = [known[place] for place in draw(st.lists(st.integers(0, len(known) - 1), max_size=6))] if known else []
    else:
        places = st.lists(st.integers(0, len(known) - 1), max_size=9 if depth < 3 else 4, unique=True)
        single = [known[place] for place in sorted(draw(places))] if known else []
        chosen = sorted({*needed, *single}, key=known.index)
        chosen = [child for child in chosen for _ in range(draw(st.integers(1, 3)) if _repeats(child) else 1)]
    gap = draw(st.sampled_from(["", "\n  ", "<?pi x?>"]))
    return gap.join(["", *(draw(xml(child, noise, depth + 1, element)) for child in chosen), ""])


_ROOTS = st.sampled_from(list(SPEC.roots))


@given(st.lists(_ROOTS.flatmap(lambda root: xml(SPEC.roots[root])), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_native_reader_makes_the_reference_rows_of_items_as_the_layout_has_them(items: list[str]) -> None:
    assert agree([item.encode() for item in items]) == len(items)


@given(st.lists(_ROOTS.flatmap(lambda root: xml(SPEC.roots[root], noise=40)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_both_readers_agree_on_items_with_oddities(items: list[str]) -> None:
    agree([item.encode() for item in items])


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
        b"<0x\1m\1-\0010>",
        b"<mml:math>",
        b"</mml:math>",
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
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
        facts = SOURCE.context(path.name, data[:65536], lambda data=data: io.BytesIO(data), {})
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
    for _, items in _real_items(limit=20):
        count += len(items)
        made += agree(items)
        agree([mutated(item, chance) for item in items[:4]])
    assert count > 2000
    assert made > 0.99 * count
