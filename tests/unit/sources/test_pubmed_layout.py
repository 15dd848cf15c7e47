"""Every element and attribute of every DTD of PubMed is stored, or left out for a reason that is written down."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

import places
from medmirror.readers.xml.layout import Element
from medmirror.sources.pubmed import LEFT_OUT, SHAPES, SPEC

DTDS = places.DATA / "pubmed" / "dtd"
DOCS = places.ROOT / "docs" / "pubmed-columns.md"
_NAME = re.compile(r"[A-Za-z_][\w:.-]*")
_WORDS = {"PCDATA", "EMPTY", "ANY"}


def _elements() -> dict[str, list[Element]]:
    found: defaultdict[str, list[Element]] = defaultdict(list)
    ready, seen = list(SPEC.roots.values()), set[int]()
    while ready:
        element = ready.pop()
        if id(element) not in seen:
            seen.add(id(element))
            found[element.name].append(element)
            ready.extend(element.children.values())
    return found


def _declarations(text: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    for name, value in re.findall(r'<!ENTITY\s+%\s+([\w.-]+)\s+"([^"]*)"\s*>', text):
        text = text.replace(f"%{name};", f" {value} ")
    text = re.sub(r'<!ENTITY\s+%\s+([\w.-]+)\s+"([^"]*)"\s*>', "", text)
    text = re.sub(r"%[\w.-]+;", " ", text)  # declared in a file that is not here
    elements = re.findall(r"<!ELEMENT\s+([\w:.-]+)\s+(.*?)>", text, flags=re.DOTALL)
    lists = re.findall(r"<!ATTLIST\s+([\w:.-]+)\s*(.*?)>", text, flags=re.DOTALL)
    attribute = re.compile(
        r"([A-Za-z][\w:.-]*)\s+(?:CDATA|ID|IDREF|NMTOKENS?|\([^)]*\))\s+(?:#\w+(?:\s+\"[^\"]*\")?|\"[^\"]*\")"
    )
    return elements, [(name, found) for name, body in lists for found in attribute.findall(body)]


SET_LEVEL = {name for shape in SHAPES.values() for name in (shape.root, *shape.items, *shape.lists)}


@pytest.mark.shared
@pytest.mark.skipif(not DTDS.is_dir(), reason="no DTDs: ../shared/data/pubmed/dtd is not there")
def test_every_element_and_attribute_of_every_dtd_is_stored_or_left_out() -> None:
    known = _elements()
    missing: set[str] = set()
    files = sorted(DTDS.glob("*.dtd"))
    assert len(files) >= 16
    for file in files:
        elements, attributes = _declarations(file.read_text(encoding="utf-8", errors="replace"))
        assert elements, file.name
        for name, model in elements:
            if name not in known and name not in SET_LEVEL and name not in LEFT_OUT:
                missing.add(name)
            children = set(_NAME.findall(model)) - _WORDS - set(LEFT_OUT)
            for element in known.get(name, []):
                if not element.to_extra:
                    missing |= {f"{name}/{child}" for child in children if child not in element.children}
        for name, attribute in attributes:
            for element in known.get(name, []):
                if not element.to_extra and attribute not in element.attributes:
                    missing.add(f"{name}@{attribute}")
    assert not missing


def test_the_dtd_walk_would_notice_an_element_and_an_attribute() -> None:
    elements, attributes = _declarations(
        '<!ENTITY % x "a CDATA #IMPLIED">\n<!ELEMENT New (One?, (Two|Three)*)><!ATTLIST New %x; b (Y | N) "Y">'
    )
    assert [name for name, _ in elements] == ["New"]
    assert attributes == [("New", "a"), ("New", "b")]


def test_every_column_is_filled_by_some_rule() -> None:
    filled = {name for constants in SPEC.constants.values() for name in constants} | {"extra"}
    for elements in _elements().values():
        for element in elements:
            puts = [*element.text, *(put for puts in element.attributes.values() for put in puts)]
            filled |= {put.name for put in puts if put.where == "column"}
            filled |= {element.date.column, element.date.year} - {""} if element.date else set()
            filled |= {element.opens.name} if element.opens and element.opens.where in ("column", "single") else set()
    assert filled == {column.name for column in SPEC.columns}


def test_columns_are_those_of_the_document() -> None:
    rows = re.findall(r"^\| ([a-z_, ]+) \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = [name.strip() for row in rows for name in row.split(",") if name.strip() != "column"]
    assert [column.name for column in SPEC.columns] == named
