"""Every text and attribute value of an XML element, and every value of a table's row, as bags of words to compare.

Knows nothing of columns: what was read must be somewhere in the row, as often as it was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import Any
from xml.etree.ElementTree import Element

import pubmed_reading

INLINE = {"b", "i", "u", "sub", "sup", "DispFormula", "{http://www.w3.org/1998/Math/MathML}math"}


def read(element: Element) -> Counter[str]:
    """The texts and attribute values of *element*; inline markup counts as the text it marks."""
    return Counter(_normal(token) for token in _read(element))


def _read(element: Element) -> Iterator[str]:
    yield from element.attrib.values()
    children = list(element)
    mixed = any(child.tag in INLINE for child in children) or (
        children and any((some or "").strip() for some in (element.text, *(child.tail for child in children)))
    )
    if mixed or not children:
        yield pubmed_reading.plain(element)
    else:
        for child in children:
            yield from _read(child)


def stored(row: dict[str, Any]) -> Counter[str]:
    """The values of a row, those in JSON too. Y and N may be kept as true and false, a date as one."""
    return Counter(_normal(token) for value in row.values() for token in _stored(value))


def _stored(value: Any) -> Iterator[str]:
    match value:
        case None:
            pass
        case bool():
            yield "Y" if value else "N"
        case str():
            yield value
            words = value.split()
            if 1 < len(words) <= 3:  # pub_date_text
                yield from words
        case date():
            yield from value.isoformat().split("-")
        case dict():
            for some in value.values():
                yield from _stored(some)
        case list():
            for some in value:
                yield from _stored(some)
        case _:
            yield str(value)


def _normal(token: str) -> str:
    token = token.strip()
    return token.lstrip("0") if len(token) == 2 and token.isdecimal() else token


def missing(said: Counter[str], row: dict[str, Any]) -> Counter[str]:
    """What was *said* and *row* does not hold."""
    lost = said - stored(row)
    del lost[""]
    return lost
