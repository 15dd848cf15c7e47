"""MathML on one line of text: what ``xmlrows.c`` leaves to the reference reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medmirror.errors import ParseError
from medmirror.readers.xml.scripts import SCRIPTS, SPACE, Line, is_enclosed, joins

_MATHML = "http://www.w3.org/1998/Math/MathML"
_MAX_DEPTH = 200
_TOKENS = {"mi", "mn", "mo", "mtext", "ms"}
_LEFT_OUT = {"annotation", "annotation-xml", "none", "mprescripts", "maligngroup", "malignmark"}
_FIRST_OF = {"semantics", "maction"}  # the others say the same again
_FRONT = {"mfrac", "msqrt", "mroot", "mmultiscripts"}  # read wrongly behind a letter or digit: 2√3, 21/2
_RELATIONS = frozenset("=<>≤≥≠≈∼~≃≅≡∝→←↔⇒⇔∈∉⊂⊆≪≫±∓×÷")
_INVISIBLE = {"\u2061": " ", "\u2062": "·", "\u2063": ",", "\u2064": "+"}  # application, times, separator, plus
_OVER = {
    **dict.fromkeys("¯‾ˉ−-_―─\u0304\u0305", "\u0304"),
    **dict.fromkeys("^ˆ⌃\u0302", "\u0302"),
    **dict.fromkeys("~˜∼\u0303", "\u0303"),
    **dict.fromkeys("→⟶⇀\u20d7", "\u20d7"),
    **dict.fromkeys(".˙⋅·\u0307", "\u0307"),
    **dict.fromkeys("¨\u0308", "\u0308"),
    **dict.fromkeys("ˇ\u030c", "\u030c"),
}
_UNDER = dict.fromkeys("_‾¯―─\u0332", "\u0332")


def local_name(element: Any) -> str:
    """The name of *element* without namespace and prefix."""
    name: str = element.tag
    return name.rpartition("}")[2].rpartition(":")[2]


def is_math(element: Any) -> bool:
    """Whether *element* is of MathML."""
    return str(element.tag).startswith(f"{{{_MATHML}}}") or local_name(element) == "math"


def line_of(element: Any, depth: int = 0) -> Line:
    """The line that *element* of MathML says. Raises ParseError when it nests too deeply."""
    if depth > _MAX_DEPTH:
        raise ParseError("The item is nested too deeply.")
    name = local_name(element)
    if name in _LEFT_OUT:
        return Line()
    if name in _TOKENS:
        return _token(element, name)
    parts = [line_of(child, depth + 1) for child in element]
    if name in _FIRST_OF:
        return parts[0] if parts else Line()
    fewest, write = _RULES.get(name, (0, _row))
    return write(element, parts) if len(parts) >= fewest else _row(element, parts)


def _token(element: Any, name: str) -> Line:
    text = " ".join("".join(element.itertext()).strip(SPACE).split())
    if name == "mo":
        text = "".join(_INVISIBLE.get(character, character) for character in text)
    return _line(text)


def _line(text: str) -> Line:
    line = Line()
    line.add(text)
    return line


def _row(element: Any, parts: Sequence[Line]) -> Line:
    """The parts one after the other, with a blank where two would be read as one, and around a relation."""
    line, gap, word = _line((element.text or "").strip(SPACE)), False, False
    texts = [part.text for part in parts]
    for place, (child, part, text) in enumerate(zip(element, parts, texts, strict=True)):
        name, end = local_name(child), line.text[-1:]
        if not text:
            continue
        if name == "mo" and text in _RELATIONS and end not in ("", "(", "[", "{", "|", ",", " "):
            line.add(f" {text}")
            gap, word = True, False
            continue
        is_word = name == "mtext" or (name == "mi" and len(text) > 1 and text.isalpha())
        touches = bool(end) and (joins(end) or end == ")") and (joins(text[0]) or name in _FRONT)
        if gap or (touches and (is_word or word or name in _FRONT)):
            line.add(" ")
        following = next((later[0] for later in texts[place + 1 :] if later), "")
        if name == "mfrac" and not is_enclosed(text) and (joins(following or " ") or following in ("(", "√", "^", "_")):
            part = _line(f"({text})")
        line.append(part)
        line.add((child.tail or "").strip(SPACE))
        gap, word = False, is_word
    return line


def _group(line: Line, more: str = "") -> Line:
    """*line* as one thing: in parentheses unless it is plainly one. *more* are characters that are allowed, too."""
    text = line.text
    if len(text) <= 1 or is_enclosed(text) or all(joins(c) or c in ".,′'" or c in more for c in text):
        return line
    return _line(f"({text})")


def _script(base: Line, mark: str, script: Line) -> Line:
    base.open(mark)
    base.append(script)
    base.close()
    return base


def _scripts(*marks: str) -> Callable[[Any, Sequence[Line]], Line]:
    def write(element: Any, parts: Sequence[Line]) -> Line:
        base = _group(parts[0], SCRIPTS["_"] if marks == ("^",) else "")
        for mark, script in zip(marks, parts[1:], strict=False):
            base = _script(base, mark, script)
        return base

    return write


def _accent(accents: Mapping[str, str], mark: str) -> Callable[[Any, Sequence[Line]], Line]:
    def write(element: Any, parts: Sequence[Line]) -> Line:
        base, over = parts[0].text, parts[1].text
        if len(base) == 1 and over in accents:
            return _line(base + accents[over])
        return _scripts(mark)(element, parts)

    return write


def _fraction(element: Any, parts: Sequence[Line]) -> Line:
    if (element.get("linethickness") or "").startswith("0"):  # a binomial coefficient
        return _line(f"({parts[0].text} over {parts[1].text})")
    return _line(f"{_group(parts[0], _RAISED).text}/{_group(parts[1], _RAISED).text}")


def _square_root(element: Any, parts: Sequence[Line]) -> Line:
    return _line(f"√{_group(_row(element, parts)).text}")


def _root(element: Any, parts: Sequence[Line]) -> Line:
    line = _script(Line(), "^", parts[1])
    line.add(f"√{_group(parts[0]).text}")
    return line


def _multiscripts(element: Any, parts: Sequence[Line]) -> Line:
    names = [local_name(child) for child in element]
    split = names.index("mprescripts") if "mprescripts" in names else len(names)
    line = Line()
    for place, script in enumerate(parts[split + 1 :]):
        line = _script(line, "_^"[place % 2], script)
    line.append(_group(parts[0]))
    for place, script in enumerate(parts[1:split]):
        line = _script(line, "_^"[place % 2], script)
    return line


def _fenced(element: Any, parts: Sequence[Line]) -> Line:
    separators = "".join((element.get("separators", ",")).split())
    line = _line(element.get("open", "("))
    for place, part in enumerate(parts):
        if place and separators:
            line.add(f"{separators[min(place, len(separators)) - 1]} ")
        line.append(part)
    line.add(element.get("close", ")"))
    return line


def _table(element: Any, parts: Sequence[Line]) -> Line:
    return _line(f"[{'; '.join(part.text for part in parts)}]")


def _table_row(element: Any, parts: Sequence[Line]) -> Line:
    return _line(", ".join(part.text for part in parts))


def _blank(element: Any, parts: Sequence[Line]) -> Line:
    return _line(" ")


_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉"
_RULES: dict[str, tuple[int, Callable[[Any, Sequence[Line]], Line]]] = {
    "mfrac": (2, _fraction),
    "msqrt": (1, _square_root),
    "mroot": (2, _root),
    "msup": (2, _scripts("^")),
    "msub": (2, _scripts("_")),
    "msubsup": (3, _scripts("_", "^")),
    "munderover": (3, _scripts("_", "^")),
    "mover": (2, _accent(_OVER, "^")),
    "munder": (2, _accent(_UNDER, "_")),
    "mmultiscripts": (1, _multiscripts),
    "mfenced": (0, _fenced),
    "mtable": (1, _table),
    "mtr": (1, _table_row),
    "mlabeledtr": (1, _table_row),
    "mspace": (0, _blank),
}
"""By element: the fewest children that it needs, and how it is written."""
