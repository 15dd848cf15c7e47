"""What may stand in a mapper's table, by type: checked once, before anything is put together or compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class _Type(NamedTuple):
    fits: Callable[[Any], bool]
    words: str


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _are_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(map(_is_scalar, value)))


def _are_named_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(word, str) for word in value.values())


_TEXT = _Type(lambda value: isinstance(value, str) and "\0" not in value, "a text")
_NOT_EMPTY = _Type(lambda value: isinstance(value, str) and bool(value), "a text that is not empty")
_TEXTS = _Type(_are_texts, "a text or a list of texts")
_FLAG = _Type(lambda value: isinstance(value, bool), "true or false")
_TABLE = _Type(lambda value: isinstance(value, dict), "a table")
_TEXT_OR_TABLE = _Type(lambda value: isinstance(value, str | dict), "a text or a table")
_FLAG_OR_TEXTS = _Type(lambda value: isinstance(value, bool) or _are_texts(value), "true, a text or a list of texts")
_YEAR = _Type(lambda value: type(value) is int and 0 <= value <= 99, "a whole number from 0 to 99")
_WORDS = _Type(_are_named_texts, 'a table of texts, like { M = "MALE" }')
_TEXTS_OR_TABLE = _Type(
    lambda value: isinstance(value, dict) or _are_texts(value), "a text, a list of texts or a table"
)
_TABLES = _Type(
    lambda value: (
        isinstance(value, dict) or (isinstance(value, list) and all(isinstance(each, dict) for each in value))
    ),
    "a table, or several",
)
_DEFAULT = _Type(
    lambda value: _is_scalar(value) or (isinstance(value, list) and all(map(_is_scalar, value))),
    "a text, number or flag",
)

_RULE = {
    "source": _TEXTS, "converter": _TEXT, "required": _FLAG, "optional": _FLAG_OR_TEXTS, "default": _DEFAULT,
    "fields": _TEXT_OR_TABLE, "join": _TEXT, "split": _NOT_EMPTY, "empty": _TEXTS, "placeholders": _TEXTS,
    "format": _TEXTS, "pivot": _YEAR, "zone": _TEXT, "enum": _WORDS, "true": _TEXTS, "false": _TEXTS,
    "decimal": _NOT_EMPTY, "grouping": _TEXT, "number": _FLAG, "feed": _TEXT, "link": _TEXT, "order": _TEXT,
}  # fmt: skip
_MAPPER = {
    "source": _TEXT, "feed": _TEXT, "entity": _TEXT, "fields": _TABLE, "drop": _TABLE, "tombstone": _TABLES,
    "zone": _TEXT_OR_TABLE, "region": _TEXT_OR_TABLE, "empty": _TEXTS, "placeholders": _TEXTS, "optional": _TEXTS,
}  # fmt: skip
_FACT = {"source": _TEXTS, "default": _TEXT}
_TOMBSTONE = {
    "grade": _TEXT, "when": _TEXT_OR_TABLE, "id": _TEXTS_OR_TABLE, "feed": _TEXT_OR_TABLE, "version": _TEXT,
}  # fmt: skip


def mistakes(table: Mapping[str, Any]) -> Iterator[str]:
    """Each key of *table*, a mapper as it stands in its file, whose value is of a wrong type, in words."""
    yield from _wrong(table, _MAPPER, "")
    for name in ("zone", "region"):
        if isinstance(fact := table.get(name), dict):
            yield from _wrong(fact, _FACT, f"{name}: ")
    tombstones = table.get("tombstone", [])
    for tombstone in tombstones if isinstance(tombstones, list) else [tombstones]:
        if isinstance(tombstone, dict):
            yield from _of_tombstone(tombstone)
    if isinstance(table.get("fields"), dict):
        yield from of_rules(table["fields"], "")


def of_rules(rules: Mapping[str, Any], above: str) -> Iterator[str]:
    """The same of a table of rules whose targets are relative to *above*."""
    for target, rule in rules.items():
        if isinstance(rule, list) and not _are_texts(rule):
            yield f"{above}{target}: a rule is a path, a list of paths or a table"
        if not isinstance(rule, dict):
            continue
        yield from _wrong(rule, _RULE, f"{above}{target}: ")
        if isinstance(rule.get("fields"), dict):
            yield from of_rules(rule["fields"], f"{above}{target}.")


def _of_tombstone(tombstone: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrong(tombstone, _TOMBSTONE, "tombstone: ")
    for name, types in (("when", {"source": _TEXT, "is": _TEXTS}), ("id", {"source": _TEXTS, "converter": _TEXT})):
        if isinstance(inner := tombstone.get(name), dict):
            yield from _wrong(inner, types, f"tombstone: {name}: ")
            if "source" not in inner:
                yield f"tombstone: {name}: source is missing"
    if isinstance(tombstone.get("feed"), dict) and not _are_named_texts(tombstone["feed"]):
        yield f"tombstone: feed is {_WORDS.words}"


def _wrong(table: Mapping[str, Any], types: Mapping[str, _Type], where: str) -> Iterator[str]:
    for key, kind in types.items():
        if key in table and not kind.fits(table[key]):
            yield f"{where}{key} is {kind.words}"
