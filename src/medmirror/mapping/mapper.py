"""A mapper: from one kind of record of one source to its canonical entity, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from medmirror.dates import zones
from medmirror.mapping.convert import addresses, times
from medmirror.mapping.convert.fitting import storable
from medmirror.mapping.convert.pairs import text_of
from medmirror.mapping.convert.scope import UNKNOWN_ZONE, Problem, Scope
from medmirror.mapping.rules.declared import Declaration, Deletion, DocumentFact, Node
from medmirror.mapping.rules.down import writer
from medmirror.mapping.rules.fetch import UNREADABLE
from medmirror.mapping.rules.paths import getter
from medmirror.mapping.rules.up import compiled
from medmirror.mapping.schema.kinds import SCHEMA_VERSION

UserFunction = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]


class Tombstone(NamedTuple):
    """A fact of deletion: *grade* explicit or archived, as of *version* (microseconds; 0: the source gives no time).

    It is about the mapped record itself when *source_id* is None, else about that record of the same source.
    """

    feed: str
    source_id: str | None
    grade: str
    version: int


class Mapped(NamedTuple):
    """The result of mapping a document. *record* is None when it has no canonical record at all."""

    entity: str
    record: dict[str, Any] | None
    tombstone: Tombstone | None = None
    problems: tuple[Problem, ...] = ()


class Unmapped(NamedTuple):
    """A source's document made from a canonical record, and the paths that it cannot hold (*lost*, sorted)."""

    document: dict[str, Any]
    lost: tuple[str, ...]


class Mapper:
    """A compiled declaration. It cannot be pickled; ``Mappers`` can, and makes the same mappers in another process."""

    def __init__(self, declared: Declaration, function: UserFunction | None = None, salt: bytes = b"") -> None:
        self.declared = declared
        self.source, self.feed, self.entity = declared.source, declared.feed, declared.entity
        self.function = function
        self.digest = _digest(declared, salt)
        self._up = compiled(declared.node, entity=True)
        self._zone = _zone_reader(declared.zone)
        self._region = _fact_reader(declared.region, addresses.country)
        self._deletions = [_detector(deletion) for deletion in declared.deletions]
        self._down = writer(declared.node)

    @property
    def required(self) -> tuple[str, ...]:
        """The targets without which a record is noted as incomplete, sorted."""
        node = self.declared.node
        return tuple(sorted({field.name for field in node.part.fields if field.required} | set(_required(node))))

    def __repr__(self) -> str:
        return f"<Mapper {self.source}.{self.feed} -> {self.entity}>"

    def to_canonical(self, document: Mapping[str, Any]) -> Mapped:
        """The canonical record, tombstone and problems of *document*. A pure function of it and of ``digest``; never
        raises."""
        if not isinstance(document, dict):
            return Mapped(self.entity, None, None, (Problem("", "shape"),))
        record, problems = self._record(document)
        if self.function is not None:
            try:
                record = storable(self.function(document, record))
                if not isinstance(record, dict):
                    raise TypeError
            except Exception:  # noqa: BLE001 - a user's function may raise anything; the record is kept without it
                record, problems = self._record(document)
                problems = (*problems, Problem("", "function_failed"))
        return Mapped(self.entity, record, self._tombstone(document), problems)

    def _record(self, document: dict[str, Any]) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        scope = Scope(self._zone(document), self._region(document))
        record = self._up(document, scope)
        assert record is not None
        return record, tuple(scope.problems)

    def _tombstone(self, document: dict[str, Any]) -> Tombstone | None:
        for detect in self._deletions:
            if (tombstone := detect(document)) is not None:
                return tombstone
        return None

    def from_canonical(self, record: dict[str, Any]) -> Unmapped:
        """*record* as a document of the source. ``lost`` names all values that reading the document again would not
        give. A user's function has no way back and is not called."""
        document: dict[str, Any] = {}
        scope = Scope(self.declared.zone.default, _country_or_none(self.declared.region.default))
        self._down(record, scope, document)
        if self.declared.zone.paths or self.declared.region.paths:
            # Only the written document tells the zone and the region in which its times and numbers will be read.
            scope = Scope(self._zone(document), self._region(document))
            document = {}
            self._down(record, scope, document)
        back, _ = self._record(document)
        return Unmapped(document, tuple(sorted(set(_lost(record, back, "")))))


def canonical_hash(record: dict[str, Any]) -> bytes:
    """The first 16 bytes of SHA-256 over ``canonical_text``: equal for equal content, whatever order keys are in."""
    return sha256(canonical_text(record)).digest()[:16]


def canonical_text(record: dict[str, Any]) -> bytes:
    """*record* as JSON with sorted keys."""
    try:
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a number of more than 64 bits
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-8", "replace")


def _required(node: Node) -> Iterator[str]:
    for leaf in (*node.leaves, *node.extra, *(inner.leaf for inner in node.nested if inner.leaf)):
        if leaf.required:
            yield leaf.target
    for nested in node.nested:
        if nested.node is not None:
            yield from _required(nested.node)


def _digest(declared: Declaration, salt: bytes) -> bytes:
    rules = {name: value for name, value in declared.resolved.items() if name not in ("drop", "about")}
    parts = (f"schema {SCHEMA_VERSION}", *declared.ingredients, json.dumps(rules, default=str))
    return sha256("\x1f".join(parts).encode() + b"\x1f" + salt).digest()[:16]


def _zone_reader(fact: DocumentFact) -> Callable[[dict[str, Any]], str | None]:
    """A function from a document to its zone: the first value there is, under whatever name systems have for it;
    UNKNOWN_ZONE where nobody knows it, for neither the default nor UTC would be right; the default without one."""
    gets = [getter(path) for path in fact.paths]

    def tell(document: dict[str, Any]) -> str | None:
        for get in gets:
            value = get(document)
            if value is None or (isinstance(value, str) and (not value.strip() or value.strip() in fact.empty)):
                continue
            try:
                return zones.named(value) if isinstance(value, str) else UNKNOWN_ZONE
            except ValueError:
                return UNKNOWN_ZONE
        return fact.default

    return tell


def _country_or_none(name: str | None) -> str | None:
    return None if name is None else addresses.country(name)


def _fact_reader(fact: DocumentFact, check: Callable[[str], str | None]) -> Callable[[dict[str, Any]], str | None]:
    """A function from a document to its region: the first value that *check* accepts, else the default."""
    default = None if fact.default is None else check(fact.default)
    if not fact.paths:
        return lambda document: default
    gets = [getter(path) for path in fact.paths]

    def tell(document: dict[str, Any]) -> str | None:
        for get in gets:
            value = get(document)
            if isinstance(value, str) and value and (answer := check(value.strip())) is not None:
                return answer
        return default

    return tell


def _detector(deletion: Deletion) -> Callable[[dict[str, Any]], Tombstone | None]:
    when, version = getter(deletion.when), getter(deletion.version)
    ids = [getter(path) for path in deletion.id]
    words = frozenset(word.casefold() for word in deletion.words)

    def detect(document: dict[str, Any]) -> Tombstone | None:
        value = when(document)
        if value is None or value == "" or (value is False and not words):
            return None
        if words and text_of(value).strip().casefold() not in words:
            return None
        if not ids:
            return Tombstone(deletion.feed, None, deletion.grade, _version(version(document)))
        parts = [get(document) for get in ids]
        if any(part is None or part == "" for part in parts):
            return None
        target_id = "|".join(text_of(part) for part in parts)
        feed: str | None = deletion.feed
        if deletion.link:
            way, _, target_id = target_id.partition("?")[0].rstrip("/").rpartition("/")
            if deletion.kinds is not None:
                feed = deletion.kinds.get(way.rpartition("/")[2])
        return None if feed is None else Tombstone(feed, target_id, deletion.grade, _version(version(document)))

    def safely(document: dict[str, Any]) -> Tombstone | None:
        try:
            return detect(document)
        except UNREADABLE:
            return None

    return safely


def _version(value: Any) -> int:
    try:
        return times.microseconds(value) if isinstance(value, str) else 0
    except ValueError:
        return 0


def _lost(held: Any, back: Any, at: str) -> list[str]:
    """The paths of *held* whose values *back* lacks.

    An enum's raw word does not count, but for the code OTHER, which says nothing without it.
    """
    if held == back or held is None or held in ({}, []):
        return []
    if isinstance(held, dict) and isinstance(back, dict):
        if held.keys() == {"code", "raw"}:
            return [] if held["code"] == back.get("code") != "OTHER" else [at]
        return [path for name in held for path in _lost(held[name], back.get(name), f"{at}.{name}" if at else name)]
    if isinstance(held, list) and isinstance(back, list):
        return _lost_of_list(held, back, at)
    return [at]


def _lost_of_list(held: list[Any], back: list[Any], at: str) -> list[str]:
    unmatched = list(back)
    missing = []
    for value in held:
        if value in unmatched:
            unmatched.remove(value)
        else:
            missing.append(value)
    if not missing:
        return [] if [value for value in back if value in held] == held else [at]  # the same ones in another order
    return [path for value in missing for path in _lost(value, _twin(value, unmatched), f"{at}[]")]


def _twin(part: Any, candidates: list[Any]) -> Any:
    """The object of *candidates* with most fields in common with *part*; None when none has any."""
    if not isinstance(part, dict):
        return None
    scored = [
        (sum(candidate.get(name) == value for name, value in part.items()), candidate)
        for candidate in candidates
        if isinstance(candidate, dict)
    ]
    score, best = max(scored, key=lambda pair: pair[0], default=(0, None))
    return best if score else None
