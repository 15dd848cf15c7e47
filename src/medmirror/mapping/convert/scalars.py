"""Converters of texts, numbers, truth values and enums."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from medmirror.mapping.convert.pairs import Pair, same, text_of, words
from medmirror.mapping.convert.scope import Scope
from medmirror.mapping.schema.kinds import Field


def _text_up(value: Any, scope: Scope) -> str | None:
    return (value if type(value) is str else text_of(value)).strip() or None


def text(options: Mapping[str, Any], field: Field) -> Pair:
    return Pair(_text_up, same)


def json(options: Mapping[str, Any], field: Field) -> Pair:
    return Pair(lambda value, scope: None if value in ({}, []) else value, same)


def _plain_number(options: Mapping[str, Any]) -> Callable[[Any], str]:
    point, grouping = options.get("decimal", "."), options.get("grouping", "")

    def plain(value: Any) -> str:
        text = text_of(value).strip()
        if grouping:
            text = text.replace(grouping, "")
        return text.replace(point, ".") if point != "." else text

    return plain


def whole(options: Mapping[str, Any], field: Field) -> Pair:
    plain = _plain_number(options)

    def up(value: Any, scope: Scope) -> int | None:
        if type(value) is int:
            return value
        if isinstance(value, bool):
            raise ValueError("no number")
        text = plain(value)
        if not text:
            return None
        number = Decimal(text) if re.fullmatch(r"[+-]?\d{1,18}(\.0*)?", text, re.ASCII) else None
        if number is None:
            raise ValueError("no whole number")
        return int(number)

    return Pair(up, same)


def decimal(options: Mapping[str, Any], field: Field) -> Pair:
    plain = _plain_number(options)
    point, as_number = options.get("decimal", "."), options.get("number", False)

    def up(value: Any, scope: Scope) -> str | None:
        if isinstance(value, bool):
            raise ValueError("no number")
        text = plain(value)
        if not text:
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise ValueError("no number") from None
        if not number.is_finite() or abs(number.adjusted()) > 40:
            raise ValueError("no number of this world")
        return f"{number:f}"

    def down(value: Any, scope: Scope) -> Any:
        if as_number:
            return float(value) if "." in value else int(value)
        return value.replace(".", point)

    return Pair(up, down)


_TRUE = ("true", "t", "yes", "y", "1")
_FALSE = ("false", "f", "no", "n", "0")


def boolean(options: Mapping[str, Any], field: Field) -> Pair:
    yes, no = words(options.get("true")), words(options.get("false"))
    meanings = {word.casefold(): True for word in yes or _TRUE} | {word.casefold(): False for word in no or _FALSE}

    def up(value: Any, scope: Scope) -> bool | None:
        if isinstance(value, bool) and not (yes or no):
            return value
        word = text_of(value).strip().casefold()
        if word and word not in meanings:
            raise ValueError("neither true nor false")
        return meanings[word] if word else None

    def down(value: Any, scope: Scope) -> Any:
        words = yes if value else no
        return words[0] if words else value

    return Pair(up, down)


def enum(options: Mapping[str, Any], field: Field) -> Pair:
    table: Mapping[str, str] = options.get("enum", {})
    codes = {_word(code): code for code in field.codes} | {_word(word): code for word, code in table.items()}
    words: dict[str, str] = {}
    for word, code in table.items():
        words.setdefault(code, word)

    def up(value: Any, scope: Scope) -> dict[str, Any] | None:
        raw = value if type(value) is str else text_of(value)
        word = _word(raw)
        return {"code": codes.get(word, "OTHER"), "raw": raw} if word else None

    def down(value: Any, scope: Scope) -> str:
        code, raw = value["code"], value.get("raw")
        if raw is not None and codes.get(_word(raw), "OTHER") == code:
            return str(raw)
        if code in words and (code, raw) != ("UNKNOWN", None):
            return words[code]
        raise ValueError("no word for it")

    return Pair(up, down)


def _word(text: str) -> str:
    return text.strip().casefold().replace(" ", "_").replace("-", "_")
