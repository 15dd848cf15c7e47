"""Raised and lowered text on one line: Unicode's own forms where all characters have one, else ``^`` and ``_``."""

from __future__ import annotations

SPACE = (
    "\t\n\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u2028\u2029"
    "\u202f\u205f\u2060\u3000\ufeff"
)
"""White space around a text, which is no part of it."""

_XML_SPACE = " \t\r\n"
_PLAIN = "0123456789+-=()\u2010\u2011\u2013\u2212"
_FORMS = {
    "^": dict(zip(_PLAIN, "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾⁻⁻⁻⁻", strict=True)),
    "_": dict(zip(_PLAIN, "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎₋₋₋₋", strict=True)),
}
SCRIPTS = {mark: "".join(forms.values()) + mark for mark, forms in _FORMS.items()}
"""The characters of scripts, by mark."""

_BY_ITSELF = frozenset("*,;:.'\" \t\r\n®™℠°ºª†‡§¶′″∘∗")  # stands raised by its own nature, or only parts others
_LETTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_BARE = _LETTERS | {".", ","}


def joins(character: str) -> bool:
    """Whether *character* would be read as a part of the word before it. (Few ranges, so that C says the same.)"""
    code = ord(character)
    if code < 0x80:
        return character in _LETTERS
    return (code >= 0xC0 and not 0x2000 <= code < 0x2C00 and code not in (0xD7, 0xF7, 0x3000, 0xFEFF)) or code == 0xB5


class Line:
    """A text under construction, in parts. *bare* is the place of the ``^`` or ``_`` whose script ends the text without
    a parenthesis."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.bare: int | None = None
        self._open: list[tuple[str, int]] = []  # mark and beginning of each open script
        self._nests = False  # whether the innermost open script holds another one
        self.scripted = False  # whether it holds any

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    def add(self, text: str) -> None:
        """Add *text*."""
        if text:
            self._end_script(text[0])
            self.parts.append(text)

    def append(self, line: Line) -> None:
        """Add another line."""
        text = line.text
        if text:
            self._end_script(text[0])
            self._nests |= line.scripted
            self.scripted |= line.scripted
            if line.bare is not None:
                self.bare = len(self.parts) + line.bare
            self.parts += line.parts

    def open(self, mark: str) -> None:
        """Begin a script: ``^`` raised, ``_`` lowered."""
        self.bare = None
        self._nests = False
        self._open.append((mark, len(self.parts)))

    def close(self) -> None:
        """End the innermost script."""
        mark, start = self._open.pop()
        nests, self._nests = self._nests, bool(self._open)
        self.bare = None
        content = "".join(self.parts[start:]).lstrip(_XML_SPACE)
        script = content.rstrip(_XML_SPACE)
        if not script:
            return
        del self.parts[start:]
        self.scripted = True
        forms = _FORMS[mark]
        if not nests and all(character in forms for character in script):
            self.parts.append("".join(forms[character] for character in script))
        elif not nests and all(character in _BY_ITSELF for character in script):
            self.parts.append(script)
        elif not nests and _is_bare(script):
            self.parts += [mark, script]
            self.bare = len(self.parts) - 2
        else:
            self.parts.append(mark + (script if is_enclosed(script) else f"({script})"))
        if len(script) < len(content):
            self.bare = None
            self.parts.append(content[len(script) :])

    def _end_script(self, following: str) -> None:
        if self.bare is not None and joins(following):
            self.parts[self.bare] += "("
            self.parts.append(")")
        self.bare = None


def _is_bare(script: str) -> bool:
    """Whether *script* is plainly one thing: letters and digits, with a sign before them at most."""
    body = script[1:] if script[0] in "+-" else script
    return bool(body) and all(character in _BARE or character >= "\x80" for character in body)


def is_enclosed(script: str) -> bool:
    """Whether *script* is one pair of parentheses and what it holds."""
    return script[0] == "(" and script[-1] == ")" and script.count("(") == script.count(")") == 1
