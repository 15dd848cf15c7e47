"""The reader of a mapper's rules: from targets, paths and converters to leaves and nodes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from medmirror.dates import zones
from medmirror.dates.grammar import VERSION as DATES
from medmirror.mapping.convert import addresses, phones, python, times
from medmirror.mapping.convert.converters import CONVERTERS, NEEDS_FEED
from medmirror.mapping.convert.fitting import storable
from medmirror.mapping.convert.pairs import Pair
from medmirror.mapping.rules.declared import Leaf, Nested, Node
from medmirror.mapping.rules.paths import Path, parse
from medmirror.mapping.schema.kinds import SCALARS, Field, Part
from medmirror.mapping.schema.parts import PARTS

_RULE_KEYS = {"source", "value", "converter", "required", "optional", "default", "fields", "join", "split", "empty"}
_PLACES = {"identifier", "coding"}
"""Parts whose texts are no words: what stands where in them has a meaning."""
_TARGET = re.compile(r"([a-z_][a-z0-9_]*)(?:\[([^\]]*)\])?(?:\.|$)")
_Groups = dict[tuple[str, str | None], dict[str, Any]]


class Wrong(ValueError):
    """A mistake in a mapper file, in words for its author."""


def only(table: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Raise Wrong for a key of *table* that is not in *allowed*."""
    for key in table:
        if key not in allowed:
            raise Wrong(f"{key!r} is not known here{near(key, allowed)}")


def near(word: str, candidates: Iterable[str]) -> str:
    """The question "do you mean ...?" for the candidate nearest to *word*; "" when none is near."""
    matches = difflib.get_close_matches(word, list(candidates), 1)
    return f"; do you mean {matches[0]!r}?" if matches else ""


def texts(option: Any) -> tuple[str, ...]:
    """An option that is one text or several."""
    return (option,) if isinstance(option, str) else tuple(map(str, option))


class Reader:
    """The reader of one mapper's rules.

    ``wrong`` collects the mistakes, so that the author sees all of them at once; ``ingredients`` the versions of all
    code and data that the rules depend on; ``optional`` the sources that need not be there.
    """

    def __init__(self, empty: frozenset[str], placeholders: tuple[str, ...] = ()) -> None:
        self.empty = empty
        self.placeholders = placeholders
        self.optional: set[str] = set()
        self.wrong: list[str] = []
        self.ingredients: set[str] = set()

    def node(self, part: Part, rules: Mapping[str, Any], above: str) -> Node:
        """The node that fills *part* by *rules*, whose targets are relative to *above*."""
        node = Node(part)
        groups: _Groups = {}
        for target, rule in rules.items():
            try:
                self._sort(node, groups, target, rule, above)
            except ValueError as error:
                self.wrong.append(f"{above}{target}: {error}")
        for (name, slot), inner in groups.items():
            field = part.field(name)
            assert field is not None
            label = f"{above}{name}" + ("" if slot is None else f"[{slot}]")
            try:
                node.nested.append(self._nested(field, slot, inner, label))
            except ValueError as error:
                self.wrong.append(f"{label}: {error}")
        if part.name == "phone":
            self.ingredients.add(f"phonenumbers {phones.data_version()}")
        elif part.name == "address":
            self.ingredients.add(f"countries {addresses.data_version()}")
        return node

    def _sort(self, node: Node, groups: _Groups, target: str, rule: Any, above: str) -> None:
        """Put one rule where it belongs: a leaf of *node*, or into the group of the part that it goes to."""
        match = _TARGET.match(target)
        name, slot, rest = (match[1], match[2], target[match.end() :]) if match else ("", None, "")
        field = node.part.field(name)
        if field is None:
            raise Wrong(
                f"{node.part.name} has no such field{near(name, [candidate.name for candidate in node.part.fields])}"
            )
        if field.derived:
            raise Wrong("medmirror derives it from its neighbours; it cannot be set")
        if field.name == "extra":
            if not rest or slot is not None:
                raise Wrong("a fact of one source only needs a name: extra.NAME")
            node.extra.append(self.leaf(Field(rest, "json", ""), table_of(rule), above + target))
        elif field.kind in SCALARS:
            if rest or slot is not None:
                raise Wrong(f"{name} is a {field.kind}{' list' if field.many else ''}: nothing can follow its name")
            words = node.part.name not in _PLACES
            node.leaves.append(self.leaf(field, table_of(rule), above + target, words=words))
        else:
            self._group(groups, field, slot, rest, rule)

    @staticmethod
    def _group(groups: _Groups, field: Field, slot: str | None, rest: str, rule: Any) -> None:
        if field.many and slot is None:
            if rest:
                raise Wrong(f"{field.name} is a list: say which slot, like {field.name}[0].{rest}")
            slot = "" if "fields" in table_of(rule) else None
        if slot is not None and not field.many:
            raise Wrong(f"{field.name} is no list")
        group = groups.setdefault((field.name, slot), {})
        if group and (not rest or "" in group):
            raise Wrong("there are rules for the whole of it and for its fields")
        group[rest] = rule

    def _nested(self, field: Field, slot: str | None, rules: dict[str, Any], label: str) -> Nested:
        part = PARTS[field.kind]
        if "" not in rules:
            return Nested(label, field, slot, None, self.node(part, rules, f"{label}."))
        rule = table_of(rules[""])
        if "fields" in rule:
            only(rule, {"source", "fields", "optional"})
            self._note_optional(rule)
            if not isinstance(rule.get("source"), str):
                raise Wrong("fields need one source, the object (or the array of objects) that they are read from")
            return Nested(label, field, slot, parse(rule["source"]), self.node(part, rule["fields"], f"{label}."))
        converter = str(rule.get("converter", ""))
        if converter.startswith("python:") or (converter in CONVERTERS and field.kind in CONVERTERS[converter].kinds):
            return Nested(label, field, slot, leaf=self.leaf(field, rule, label))
        if field.many and slot is None:
            raise Wrong(f"{field.name} is a list: say which slot, like {field.name}[0]")
        if not part.main:
            raise Wrong(f"say which field of it, like {label}.{part.fields[0].name}")
        return Nested(label, field, slot, None, self.node(part, {part.main: rule}, f"{label}."))

    def leaf(self, field: Field, rule: Mapping[str, Any], label: str, *, words: bool = True) -> Leaf:
        """The leaf that fills *field* by *rule*; *words*: a text of it is free text. Raises Wrong."""
        if "fields" in rule:
            raise Wrong(f"a {field.kind} has no fields")
        if "value" in rule:
            only(rule, {"value"})
            return Leaf(label, field, constant=_constant(field, rule["value"]))
        if not rule.get("source"):
            raise Wrong("it has neither source nor value" + (", yet it is required" if rule.get("required") else ""))
        self._note_optional(rule)
        paths = tuple(map(parse, texts(rule["source"])))
        name = str(rule.get("converter", field.kind))
        pair = self._pair(field, name, rule, several=len(paths) > 1)
        if not (field.many or name == "json" or rule.get("join") is not None):
            _one_value(paths)
        return Leaf(
            label,
            # A list of parts is made by its function as a whole.
            field._replace(many=field.many and field.kind in SCALARS),
            paths,
            pair,
            name,
            rule.get("join"),
            rule.get("split"),
            self.empty | frozenset(texts(rule.get("empty", ()))),
            rule.get("default"),
            required=bool(rule.get("required")),
            words=words and name in ("text", "json"),
        )

    def _note_optional(self, rule: Mapping[str, Any]) -> None:
        """Note the sources of *rule* that need not be there."""
        option = rule.get("optional", False)
        if option is not False:
            self.optional.update(parse(text).fields for text in texts(rule["source"] if option is True else option))

    def _pair(self, field: Field, name: str, rule: Mapping[str, Any], *, several: bool) -> Pair:
        options = {key: value for key, value in rule.items() if key not in _RULE_KEYS}
        if name.startswith("python:"):
            only(options, ())
            function = python.load(name, field)
            self.ingredients.add(f"{name} {function.digest}")
            return Pair(function.up, function.down, whole=several)
        converter = CONVERTERS.get(name)
        if converter is None:
            raise Wrong(f"there is no converter {name!r}{near(name, CONVERTERS)}")
        if field.kind not in converter.kinds:
            raise Wrong(f"the converter {name!r} makes no {field.kind}")
        only(options, converter.options)
        if name in NEEDS_FEED and not isinstance(options.get("feed"), str):
            raise Wrong("a reference needs feed, the kind of record that it points to")
        for code in dict(options.get("enum", {})).values():
            if code not in field.codes:
                raise Wrong(f"{code!r} is none of its codes{near(str(code), field.codes)}")
        self.ingredients.add(f"{name} {converter.version} {' '.join(field.codes)}".strip())
        if "placeholders" in converter.options:
            days = (*self.placeholders, *texts(options.get("placeholders", ())))
            options = {**options, "placeholders": [times.partial(day) for day in days]}
        if "format" in options:
            self.ingredients.add(f"dates {DATES}")
        if "zone" in options:
            self.ingredients.add(f"tzdata {zones.data_version()}")
        return converter.build(options, field)


def table_of(rule: Any) -> Mapping[str, Any]:
    """A rule in its long form. Raises Wrong."""
    if isinstance(rule, str | list):
        return {"source": rule}
    if not isinstance(rule, dict):
        raise Wrong("a rule is a path, a list of paths or a table")
    return rule


def _one_value(paths: Iterable[Path]) -> None:
    for path in paths:
        if "[]" in path.text:
            raise Wrong(f"{path.text!r} leads to many values, the target holds one: say [0], or join")


def _constant(field: Field, value: Any) -> Any:
    kinds = {"text": str, "int": int, "bool": bool, "decimal": str, "date": str, "enum": str}
    if field.kind != "json" and not isinstance(value, kinds.get(field.kind, ())):
        raise Wrong(f"{value!r} is no {field.kind}")
    if field.kind == "enum" and value not in field.codes:
        raise Wrong(f"{value!r} is none of its codes{near(value, field.codes)}")
    try:
        storable(value)
    except ValueError:
        raise Wrong("the value is nothing that JSON can hold") from None
    return [value] if field.many else value
