"""The text of mixed content: what raised, lowered and mathematical markup means stays readable in plain text.

* ``sup`` and ``sub``: digits and signs become Unicode's own (10⁶, H₂O, 10⁻³); what stands raised by itself stays as it
  is (®, *, commas between two numbers of references); anything else gets ``^`` or ``_`` (K_m, x^n), with parentheses
  where its end would not be seen: x^(n+1), x^(n)y.
* MathML becomes one line: x² ≤ 1/2, √(a+b), ∑_(i=1)^n, [1, 0; 0, 1]. Annotations are left out.
* All other markup says how a text looks: its text alone is kept.

``xmlrows.c`` does the same for text without MathML and without attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lxml import etree

from medmirror.errors import ParseError
from medmirror.readers.xml import math
from medmirror.readers.xml.math import local_name
from medmirror.readers.xml.parsing import parse
from medmirror.readers.xml.scripts import SPACE, Line

_MATH = re.compile(rb"<((?:[A-Za-z_][\w.-]*:)?math)(?=[\s/>])[^>]*?(?:/>|>.*?</\1\s*>)", re.DOTALL)
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_SCRIPTS = {"sup": "^", "sub": "_"}
_INLINE = {*_SCRIPTS, "b", "i", "u", "DispFormula"}


class Text(NamedTuple):
    """A text without markup, and the same with it; they are one text where there is none. *marked* is XML: escaped,
    without declarations of namespaces."""

    plain: str
    marked: str
    has_markup: bool


def text_of(element: Any) -> Text:
    """The text of *element*, without white space around it. Raises ParseError when mathematics nests too deeply."""
    if not len(element):
        plain = (element.text or "").strip(SPACE)
        return Text(plain, escaped(plain), False)
    return Text(plain_of(element), "".join(_marked(element)).strip(SPACE), True)


def escaped(text: str) -> str:
    """*text* as XML has it."""
    return text.translate(_ESCAPES)


def plain_of(element: Any) -> str:
    """The text of *element*, whose children are markup."""
    line = Line()
    skip = None
    for event, child in etree.iterwalk(element, events=("start", "end")):
        if skip is not None:
            if child is skip and event == "end":
                skip = None
                line.add(child.tail or "")
            continue
        if event == "start":
            if child is not element and math.is_math(child):
                line.append(math.line_of(child))
                skip = child
                continue
            if child is not element and local_name(child) in _SCRIPTS:
                line.open(_SCRIPTS[local_name(child)])
            line.add(child.text or "")
        elif child is not element:
            if local_name(child) in _SCRIPTS:
                line.close()
            line.add(child.tail or "")
    return line.text.strip(SPACE)


def lined(item: bytes, namespaces: Mapping[str, str]) -> bytes | None:
    """*item* with each formula as the line that ``xmlrows.c`` takes over (add_line); None when it has none, or one that
    cannot be read by itself."""
    if b"<0" in item or b"\1" in item:
        return None
    try:
        lines, count = _MATH.subn(lambda formula: _line(parse(formula[0], namespaces)), item)
    except ParseError:
        return None
    return lines if count else None


def _line(formula: Any) -> bytes:
    line = math.line_of(formula)
    bare = "-" if line.bare is None else len("".join(line.parts[: line.bare]).encode())
    marked = "".join(_marked(formula.getparent()))
    return f"<0{line.text}\1{marked}\1{bare}\1{int(line.scripted)}>".encode()


def _marked(element: Any) -> Iterator[str]:
    """What stands between the tags of *element*."""
    for event, child in etree.iterwalk(element, events=("start", "end")):
        empty = not (child.text or len(child))
        if event == "start":
            if child is not element:
                yield f"<{name_of(child)}{''.join(_attributes(child))}{'/' if empty else ''}>"
            yield escaped(child.text or "")
        elif child is not element:
            if not empty:
                yield f"</{name_of(child)}>"
            yield escaped(child.tail or "")


def _attributes(element: Any) -> Iterator[str]:
    for name, value in element.attrib.items():
        yield f' {attribute_name(element, name)}="{escaped(value).replace(chr(34), "&quot;")}"'


def is_markup(element: Any) -> bool:
    """Whether *element* and all in it is markup of a text."""
    if math.is_math(element):
        return True
    return local_name(element) in _INLINE and all(is_markup(child) for child in element)


def name_of(element: Any) -> str:
    """The name of *element* as it was written, with its prefix."""
    tag: str = element.tag
    if not tag.startswith("{"):
        return tag
    local = tag.rpartition("}")[2]
    return f"{element.prefix}:{local}" if element.prefix else local


def attribute_name(element: Any, name: str) -> str:
    """The name of an attribute of *element* as it was written, with its prefix."""
    if not name.startswith("{"):
        return name
    uri, _, local = name[1:].partition("}")
    prefix = next((prefix for prefix, uri_of_prefix in element.nsmap.items() if uri_of_prefix == uri), None)
    return f"{prefix or uri}:{local}"
