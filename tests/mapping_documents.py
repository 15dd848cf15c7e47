"""Documents that a mapper could meet, made out of its own rules: for property tests of every mapper there is."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from medmirror.dates.grammar import Moment, compiled
from medmirror.mapping.mapper import Mapper
from medmirror.mapping.rules.declared import Leaf, Nested, Node
from medmirror.mapping.rules.paths import Path
from medmirror.mapping.rules.placing import add, put

_TAKEN = "paths that other rules read, too"
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=4
)
PHONES = st.sampled_from(
    ["+61 412 345 678", "0412345678", "(02) 9555 1234", "02 9555 1234 ext 7", "12", "n/a", "+1 201 555 0123", "+999 1"]
)
DAYS = st.dates(date(1900, 1, 1), date(2090, 12, 31))
OFFSETS = st.sampled_from([0, 60, 600, 660, -480, 345])
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2090, 12, 31))


@st.composite
def iso_times(draw: st.DrawFn) -> str:
    """A time as an API may write it; one with an offset, for without one an hour in autumn could be meant twice."""
    moment = draw(MOMENTS.map(lambda one: one.replace(microsecond=0)) | MOMENTS)
    if draw(st.booleans()):
        return moment.isoformat() + "Z"
    return moment.replace(tzinfo=timezone(timedelta(minutes=draw(OFFSETS)))).isoformat()


def _written(pattern: str, pivot: int, moment: datetime) -> str:
    return compiled(pattern, pivot).write(Moment(*moment.timetuple()[:6], moment.microsecond, 0))


def _partial(day: date) -> st.SearchStrategy[str]:
    return st.sampled_from([day.isoformat(), day.isoformat()[:7], day.isoformat()[:4]])


def _value(leaf: Leaf, options: dict[str, Any]) -> st.SearchStrategy[Any]:
    name = leaf.converter
    formats = options.get("format")
    pattern = (formats if isinstance(formats, str) else formats[0]) if formats else None
    if name == "text":
        return PHONES if leaf.target.endswith("raw") else WORDS | st.integers(0, 10**20)
    if name == "enum":
        return st.sampled_from([*options.get("enum", {"x": ""}), *leaf.field.codes]) | WORDS
    if name == "bool":
        words = [*_words(options.get("true")), *_words(options.get("false"))]
        return st.sampled_from(words) if words else st.booleans()
    if name == "date":
        if pattern:
            return DAYS.map(lambda day: _written(pattern, options.get("pivot", 68), datetime(*day.timetuple()[:3])))
        return DAYS.flatmap(_partial)
    if name == "time":
        return _time(pattern, options)
    if name == "int":
        return st.integers(-(10**9), 10**9)
    if name == "decimal":
        number = st.decimals(-(10**9), 10**9, places=2)
        return (
            number.map(float)
            if options.get("number")
            else number.map(lambda one: str(one).replace(".", options.get("decimal", ".")))
        )
    if name in ("reference", "link_id"):
        ident = st.integers(1, 10**20).map(str)
        return ident if name == "reference" else ident.map(lambda one: f"https://api.example.org/v1/things/{one}")
    if name == "fhir_reference":
        target = st.sampled_from(
            [
                "Patient/a-1",
                "https://fhir.example.org/r4/Practitioner/7",
                "urn:uuid:0a",
                "#in",
                "Location?identifier=x|1",
            ]
        )
        return st.fixed_dictionaries({"reference": target}, optional={"display": st.just("Somebody")})
    if name == "json":
        return JSON
    return st.none() | st.booleans()


def _words(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given or [])


def _time(pattern: str | None, options: dict[str, Any]) -> st.SearchStrategy[Any]:
    if pattern in ("epoch", "epoch_ms", "epoch_us"):
        return st.integers(0, 4 * 10**9)
    if pattern:
        # Noon: no clock is changed at that hour.
        noon = DAYS.map(lambda day: datetime(*day.timetuple()[:3], 12, 30))
        return noon.map(lambda one: _written(pattern, options.get("pivot", 68), one))
    return iso_times() | DAYS.flatmap(_partial)


def _fill(draw: st.DrawFn, node: Node, document: dict[str, Any], table: dict[str, Any]) -> None:
    for leaf in (*node.leaves, *node.extra):
        _fill_leaf(draw, leaf, document, table)
    for nested in node.nested:
        _fill_nested(draw, nested, document, table)


def _fill_leaf(draw: st.DrawFn, leaf: Leaf, document: dict[str, Any], table: dict[str, Any]) -> None:
    if leaf.join is not None:
        return  # what may stand in each of its pieces is the format's business
    options = _options(table, leaf.target)
    for path in leaf.paths:
        if draw(st.integers(0, 3)) == 0 or (leaf.converter.startswith("python:") and path in table[_TAKEN]):
            continue
        value = _value(leaf, options)
        if path.many and leaf.field.many:
            add(document, path, draw(st.lists(value, min_size=1, max_size=3)))
        else:
            put(document, path, draw(value))


def _fill_nested(draw: st.DrawFn, nested: Nested, document: dict[str, Any], table: dict[str, Any]) -> None:
    if nested.leaf is not None:
        _fill_leaf(draw, nested.leaf, document, table)
    elif nested.node is not None and nested.path is None:
        _fill(draw, nested.node, document, table)
    elif nested.node is not None and nested.path is not None:
        many = nested.path.many and nested.field.many
        inner = []
        for _ in range(draw(st.integers(0, 2 if many else 1))):
            one: dict[str, Any] = {}
            _fill(draw, nested.node, one, table)
            inner.append(one)
        _place(document, nested.path, inner, many)


def _place(document: dict[str, Any], path: Path, inner: list[dict[str, Any]], many: bool) -> None:
    if many and inner:
        add(document, path, inner)
    elif inner:
        put(document, path, inner[0])


def _options(table: dict[str, Any], target: str) -> dict[str, Any]:
    """The rule's own table for *target*, however deep it stands."""
    rules: Any = table["fields"]
    rest = target
    while True:
        if rest in rules:
            rule = rules[rest]
            return rule if isinstance(rule, dict) else {}
        above = next((one for one in rules if rest.startswith(f"{one}.") and isinstance(rules[one], dict)), None)
        if above is None:
            return {}
        rules, rest = rules[above].get("fields", {}), rest[len(above) + 1 :]


@st.composite
def documents(draw: st.DrawFn, mapper: Mapper) -> dict[str, Any]:
    """A document that *mapper* can read."""
    document: dict[str, Any] = {}
    node = mapper.declared.node
    taken = {path for leaf in node.leaves if not leaf.converter.startswith("python:") for path in leaf.paths}
    _fill(draw, node, document, {**mapper.declared.resolved, _TAKEN: taken})
    return document
