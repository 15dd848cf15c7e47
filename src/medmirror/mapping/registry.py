"""All mappers: the TOML files of the package, and a user's above them."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from medmirror.errors import UsageError
from medmirror.mapping.mapper import Mapper, UserFunction
from medmirror.mapping.rules import options
from medmirror.mapping.rules.declared import Declaration
from medmirror.mapping.rules.grammar import declaration
from medmirror.mapping.rules.overrides import merged, shaped
from medmirror.mapping.rules.targets import Wrong

Key = tuple[str, str]
_DEFAULTS = ("zone", "region", "empty", "placeholders")
_TOP = ("mapper", "defaults", "shape", "ignore")


class Mappers:
    """The mappers of the package with *texts* (user's TOML) and *packed* (user's functions) above them.

    They can be pickled: another process makes the same mappers, with the same digests.
    """

    def __init__(self, texts: tuple[str, ...] = (), packed: tuple[tuple[Key, bytes], ...] = ()) -> None:
        self.texts, self.packed = texts, packed
        self._declared = _declared(texts)
        self.ignored = _ignored(texts)
        self._functions = dict(packed)
        self._made: dict[Key, Mapper | None] = {}
        for key in self._functions:
            if key not in self._declared:
                raise UsageError(f"There is no mapper {key[0]}.{key[1]} that a function could follow.")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.texts, self.packed)

    def of(self, source: str, feed: str) -> Mapper | None:
        """The mapper of the records that sync_mapping calls (*source*, *feed*), or None. Made at the first call."""
        key = (source, feed)
        try:
            return self._made[key]
        except KeyError:
            pass
        declared = self._declared.get(key)
        mapper = self._made[key] = None if declared is None else self._make(declared)
        return mapper

    def _make(self, declared: Declaration) -> Mapper:
        packed = self._functions.get((declared.source, declared.feed))
        if packed is None:
            return Mapper(declared)
        from multiprocess.reduction import ForkingPickler

        function: UserFunction = ForkingPickler.loads(packed)  # made by `with_functions` in the parent of this run
        return Mapper(declared, function, sha256(packed).digest())

    def names(self) -> tuple[Key, ...]:
        """(source, feed) of every mapper, sorted."""
        return tuple(sorted(self._declared))

    def all(self) -> tuple[Mapper, ...]:
        """Every mapper, sorted by source and feed."""
        return tuple(mapper for key in self.names() if (mapper := self.of(*key)) is not None)

    def with_functions(self, functions: Mapping[Key, UserFunction | bytes]) -> Mappers:
        """These mappers, with a function (document, canonical record) -> canonical record after some of them.

        Lambdas and closures of a script are allowed: they are pickled by value (dill), and the digest covers that
        pickle, so an edited function maps its records anew. Bytes are functions that this method packed before.
        """
        from multiprocess.reduction import ForkingPickler

        packed = {
            key: function if isinstance(function, bytes) else bytes(ForkingPickler.dumps(function, recurse=True))
            for key, function in functions.items()
        }
        return Mappers(self.texts, tuple(sorted({**self._functions, **packed}.items())))


@cache
def mappers(texts: tuple[str, ...] = ()) -> Mappers:
    """The package's mappers, with *texts* (TOML) above them, the last one on top.

    Raises UsageError with all mistakes in them.
    """
    return Mappers(texts)


@cache
def _declared(texts: tuple[str, ...]) -> dict[Key, Declaration]:
    tables = dict(_builtin())
    for place, text in enumerate(texts, 1):
        for key, table in _tables(text, f"mapping file {place}").items():
            tables[key] = merged(tables[key], table) if key in tables else table
    declarations: dict[Key, Declaration] = {}
    wrong = []
    for key, table in tables.items():
        try:
            declarations[key] = _declaration(json.dumps(table, default=str))
        except Wrong as error:
            wrong.append(str(error))
    if wrong:
        raise UsageError("The mapping is wrong. " + "; ".join("; ".join(wrong).splitlines()) + ".")
    return declarations


@cache
def _declaration(frozen: str) -> Declaration:
    """Declarations by their whole TOML, so that a user's file costs only its own mappers."""
    return declaration(json.loads(frozen))


@cache
def _ignored(texts: tuple[str, ...]) -> dict[Key, str]:
    """The reason of each (source, feed) that is not mapped on purpose; a mapper for it overrides that."""
    reasons = {key: reason for text in (*builtin_texts().values(), *texts) for key, reason in _ignores(text).items()}
    return {key: reason for key, reason in reasons.items() if key not in _declared(texts)}


def _ignores(text: str) -> dict[Key, str]:
    reasons: dict[Key, str] = {}
    for table in _tables_of(_parsed(text), "ignore", "[[ignore]]"):
        feeds, reason = table.get("feed", ()), str(table.get("reason", "")).strip()
        known = isinstance(table.get("source"), str) and (
            isinstance(feeds, str) or (isinstance(feeds, list) and all(isinstance(feed, str) for feed in feeds))
        )
        if not (known and feeds and reason):
            raise UsageError("[[ignore]] needs source, feed and reason.")
        reasons |= {(table["source"], feed): reason for feed in ([feeds] if isinstance(feeds, str) else feeds)}
    return reasons


@cache
def _builtin() -> dict[Key, dict[str, Any]]:
    tables: dict[Key, dict[str, Any]] = {}
    for name, text in sorted(builtin_texts().items()):
        for key, table in _tables(text, name).items():
            if key in tables:
                raise UsageError(f"The mapper {key[0]}.{key[1]} is declared twice among the built-in files.")
            tables[key] = table
    return tables


def check(text: str, name: str) -> list[str]:
    """The mistakes in the mapper file *text*, laid over the built-in ones, as lines for its author."""
    try:
        document = _parsed(text)
        wrong = [
            f"[{key}] means nothing here; do you mean {close[0]!r}?"
            for key in document
            if key not in _TOP and (close := difflib.get_close_matches(key, _TOP, 1, 0.7))
        ]
        own = _tables(text, name)
        _ignores(text)
    except UsageError as error:
        return [error.message]
    except tomllib.TOMLDecodeError as error:
        return [f"{name} is no TOML: {error}."]
    if not own and not wrong and "ignore" not in document:
        wrong.append("there is no [[mapper]] in it")
    ours = _builtin()
    for key, table in own.items():
        try:
            _declaration(json.dumps(merged(ours[key], table) if key in ours else table, default=str))
        except Wrong as error:
            wrong += str(error).splitlines()
    return wrong


@cache
def builtin_texts() -> dict[str, str]:
    """The package's own mapper files: name to text."""
    folder = files("medmirror.mapping").joinpath("mappers")
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".toml")}


@cache
def _parsed(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


def _tables(text: str, name: str) -> dict[Key, dict[str, Any]]:
    """The mappers of a TOML *text*, defaults and shapes put in."""
    try:
        document = _parsed(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is no TOML: {error}.") from None
    defaults, shapes = _table_of(document, "defaults", name), _table_of(document, "shape", name)
    for default in defaults:
        if default not in _DEFAULTS:
            raise UsageError(f"{name}: [defaults] has {default!r}; it takes {', '.join(_DEFAULTS)}.")
    for shape in shapes:
        _refuse(name, [f"shape.{shape}: {line}" for line in options.of_rules(_table_of(shapes, shape, name), "")])
    tables: dict[Key, dict[str, Any]] = {}
    for table in _tables_of(document, "mapper", f"{name}: [[mapper]]"):
        if None in (table.get("source"), table.get("feed")):
            raise UsageError(f"{name}: a mapper lacks its source or its feed.")
        key: Key = (str(table["source"]), str(table["feed"]))
        _refuse(name, [f"{key[0]}.{key[1]}: {line}" for line in options.mistakes({**defaults, **table})])
        if key in tables:
            raise UsageError(f"{name}: the mapper {key[0]}.{key[1]} stands there twice.")
        fields = {target: shaped(rule, shapes, name) for target, rule in table.get("fields", {}).items()}
        tables[key] = {**defaults, **table, "fields": fields}
    return tables


def _refuse(name: str, wrong: list[str]) -> None:
    if wrong:
        raise UsageError(f"{name}: {'; '.join(wrong)}.")


def _table_of(document: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    table = document.get(key, {})
    if not isinstance(table, dict):
        raise UsageError(f"{name}: {key} is no table.")
    return table


def _tables_of(document: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    tables = document.get(key, [])
    tables = [tables] if isinstance(tables, dict) else tables
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{where} is no table.")
    return tables
