"""Mapper files: TOML that says which canonical field comes from where.

    [[mapper]]
    source = "cliniko"
    feed = "patient"                        # as sync_mapping names it
    entity = "patient"                      # what it becomes: schema.ENTITIES
    zone = { source = "time_zone", default = "Australia/Sydney" }    # of times without one; or just a text
    region = { source = "country", default = "AU" }                  # of telephone numbers without one; or just a text
    empty = ["N/A", "0000-00-00"]           # texts that mean nothing, in every field

    [mapper.fields]                         # target = a path, or a table
    birth_date = "date_of_birth"            # the field's kind knows its converter
    "names[official].family" = { source = "last_name", required = true }
    "names[official].given" = ["first_name", "middle_name"]         # a list of texts takes the values of several paths
    "names[official].use" = { value = "OFFICIAL" }                  # a constant; alone it makes no name
    sex = { source = "sex", enum = { M = "MALE", F = "FEMALE" } }
    "identifiers[medicare].value" = "medicare"
    "extra.referral_source" = "referral_source"                     # kept as it is
    practitioner = { source = "practitioner.links.self", converter = "link_id", feed = "practitioner" }
    starts = { source = ["day", "time"], join = " ", format = "%d/%m/%Y %H:%M" }
    notes = false                           # in a user's file: takes the built-in rule away

    [mapper.fields."phones[]"]              # an array of objects: one phone each
    source = "patient_phone_numbers[]"
    fields = { raw = "number", use = "phone_type" }                 # or the name of a [shape.NAME] table of this file

    [mapper.drop]                           # what is not mapped, and why: `mapping coverage` asks
    booking_ip_address = "of no use to a practice"

    [[mapper.tombstone]]                    # when the document says that a record is gone
    grade = "archived"                      # explicit or archived
    when = "archived_at"                    # set: it is; or { source = "state", is = ["deleted"] }
    # id = "id" and feed = the mapper's own; id = { source = "links.self", converter = "link_id" } cuts it from a URL,
    # feed = { patients = "patient" } reads it from the piece before. version = a time's path; default: when's own

    [defaults]                              # zone, region, empty of every mapper of this file that has none
    [shape.concept]                         # rules to use as fields = "concept"

A target is a field of the entity; ``[word]`` after a list names one slot of it, in the order of the file; ``a.b`` goes
into a part; a part's own name alone means its main field (``emails[0] = "email"``). Rule keys: source, value, converter,
required, default, fields, join, split, empty, and the options of its converter (see ``converters``). Several sources:
the first that has a value, unless the target is a list, ``join`` is given, or the converter is a Python function.
Paths: see ``paths``. A user's file need not repeat anything: a rule of it replaces ours of the same target when it has a
source or a value, else adds its keys to it. Other tables at the top of a file are the source's business.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from medmirror.mapping import addresses, phones, python, times
from medmirror.mapping.converters import CONVERTERS, NEEDS_FEED, Pair
from medmirror.mapping.paths import Path, parse
from medmirror.mapping.rules import Declaration, Deletion, Leaf, Nested, Node, Told
from medmirror.mapping.schema import ENTITIES, PARTS, SCALARS, Field, Part

ENGINE = 1  #: goes up when the same rules and converters come to another result
_RULE_KEYS = {"source", "value", "converter", "required", "default", "fields", "join", "split", "empty"}
_OPTIONS = frozenset[str]().union(*(converter.options for converter in CONVERTERS.values()))
_MAPPER_KEYS = {"source", "feed", "entity", "fields", "drop", "tombstone", "zone", "region", "empty", "about"}
_TARGET = re.compile(r"([a-z_][a-z0-9_]*)(?:\[([^\]]*)\])?(?:\.|$)")


class Wrong(ValueError):
    """What is wrong with a mapper file, in words for its author."""


class _Reader:
    """Reads one mapper; gathers what is wrong with it, so that its author sees all of it at once."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table
        self.name = f"{table.get('source')}.{table.get('feed')}"
        self.wrong: list[str] = []
        self.ingredients: set[str] = set()
        self.empty = frozenset(_texts(table.get("empty", ())))

    def read(self) -> Declaration:
        table = self.table
        self._only("mapper", table, _MAPPER_KEYS)
        entity = ENTITIES.get(str(table.get("entity")))
        if entity is None:
            near = _near(str(table.get("entity")), ENTITIES)
            raise Wrong(f"{self.name}: there is no entity {table.get('entity')!r}{near}")
        node = self.node(entity, table.get("fields", {}), "", {})
        held = {one.field.name for one in (*node.leaves, *node.nested)}
        for field in entity.fields:
            if field.required and field.name not in held:
                self._say(f"{field.name}: every {entity.name} needs it, and no rule gives it")
        told = {name: self._told(name) for name in ("zone", "region")}
        if told["zone"] != Told():
            self.ingredients.add(f"tzdata {times.data_version()}")
        made = Declaration(
            table["source"], table["feed"], entity.name, node, self._drop(), self._deletions(), told["zone"],
            told["region"], dict(table), ()
        )  # fmt: skip
        if self.wrong:
            raise Wrong("\n".join(f"{self.name}: {one}" for one in self.wrong))
        return made._replace(ingredients=(f"engine {ENGINE}", *sorted(self.ingredients)))

    def _say(self, message: str) -> None:
        self.wrong.append(message)

    def _only(self, what: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
        for key in table:
            if key not in known:
                self._say(f"{what}: {key!r} is not known here{_near(key, known)}")

    def node(self, part: Part, rules: Mapping[str, Any], above: str, seen: dict[str, Any]) -> Node:
        """How *part* is filled by *rules*, whose targets are relative to *above*."""
        node = Node(part)
        groups: dict[tuple[str, str | None], dict[str, Any]] = {}
        for target, rule in rules.items():
            try:
                self._sort(node, groups, target, rule, above)
            except ValueError as error:
                self._say(f"{above}{target}: {error}")
        for (name, slot), inner in groups.items():
            field = part.field(name)
            assert field is not None
            label = f"{above}{name}" + ("" if slot is None else f"[{slot}]")
            try:
                node.nested.append(self._nested(field, slot, inner, label))
            except ValueError as error:
                self._say(f"{label}: {error}")
        if part.name == "phone":
            self.ingredients.add(f"phonenumbers {phones.data_version()}")
        if part.name == "address":
            self.ingredients.add(f"countries {addresses.data_version()}")
        return node

    def _sort(
        self, node: Node, groups: dict[tuple[str, str | None], dict[str, Any]], target: str, rule: Any, above: str
    ) -> None:
        """Put one rule where it belongs: a leaf of *node*, or into the group of the part that it goes to."""
        match = _TARGET.match(target)
        name, slot, rest = (match[1], match[2], target[match.end() :]) if match else ("", None, "")
        field = node.part.field(name)
        if field is None:
            raise Wrong(f"{node.part.name} has no such field{_near(name, [one.name for one in node.part.fields])}")
        if field.derived:
            raise Wrong("medmirror derives it from its neighbours; it cannot be set")
        if field.name == "extra":
            if not rest or slot is not None:
                raise Wrong("facts of one source only need a name: extra.NAME")
            inner = Field(rest, "json", "")
            node.extra.append(self.leaf(inner, _table(rule), above + target))
        elif field.kind in SCALARS:
            if rest or slot is not None:
                raise Wrong(f"{name} is a {field.kind}{' list' if field.many else ''}: nothing can follow its name")
            node.leaves.append(self.leaf(field, _table(rule), above + target))
        else:
            if field.many and slot is None:
                if rest:
                    raise Wrong(f"{name} is a list: say which slot, like {name}[0].{rest}")
                slot = "" if "fields" in _table(rule) else None
            if slot is not None and not field.many:
                raise Wrong(f"{name} is no list")
            group = groups.setdefault((name, slot), {})
            if group and (not rest or "" in group):
                raise Wrong("there are rules for the whole of it and for its fields")
            group[rest] = rule

    def _nested(self, field: Field, slot: str | None, rules: dict[str, Any], label: str) -> Nested:
        part = PARTS[field.kind]
        if "" not in rules:
            return Nested(label, field, slot, None, self.node(part, rules, f"{label}.", {}))
        rule = _table(rules[""])
        if "fields" in rule:
            self._only(label, rule, {"source", "fields"})
            if not isinstance(rule.get("source"), str):
                raise Wrong("fields need one source, the object (or the array of objects) that they are read from")
            path = parse(rule["source"])
            many = field.many and path.many
            inner = self.node(part, rule["fields"], f"{label}.", {})
            return Nested(label, field, slot if many or slot is not None else None, path, inner)
        converter = str(rule.get("converter", ""))
        if converter.startswith("python:") or (converter in CONVERTERS and field.kind in CONVERTERS[converter].kinds):
            return Nested(label, field, slot, leaf=self.leaf(field, rule, label))
        if field.many and slot is None:
            raise Wrong(f"{field.name} is a list: say which slot, like {field.name}[0]")
        if not part.main:
            raise Wrong(f"say which field of it, like {label}.{part.fields[0].name}")
        return Nested(label, field, slot, None, self.node(part, {part.main: rule}, f"{label}.", {}))

    def leaf(self, field: Field, rule: Mapping[str, Any], label: str) -> Leaf:
        """How one value is made."""
        if "fields" in rule:
            raise Wrong(f"a {field.kind} has no fields")
        if "value" in rule:
            self._only(label, rule, {"value"})
            return Leaf(label, field, constant=_constant(field, rule["value"]))
        if not rule.get("source"):
            raise Wrong("it has neither source nor value" + (", yet it is required" if rule.get("required") else ""))
        sources = rule["source"] if isinstance(rule["source"], list) else [rule["source"]]
        paths = tuple(parse(str(one)) for one in sources)
        name = str(rule.get("converter", field.kind))
        whole = field.kind not in SCALARS and field.many
        pair = self._pair(field, name, rule, label, several=len(paths) > 1)
        if any(path.many for path in paths) and not field.many and rule.get("join") is None and name != "json":
            self._many_for_one(paths)
        return Leaf(
            label, field._replace(many=field.many and not whole), paths, pair, name, rule.get("join"), rule.get("split"),
            self.empty | frozenset(_texts(rule.get("empty", ()))), rule.get("default"), None,
            bool(rule.get("required")),
        )  # fmt: skip

    @staticmethod
    def _many_for_one(paths: tuple[Path, ...]) -> None:
        for path in paths:
            if "[]" in path.text:
                raise Wrong(f"{path.text!r} leads to many values, the target holds one: say [0], or join")

    def _pair(self, field: Field, name: str, rule: Mapping[str, Any], label: str, *, several: bool) -> Pair:
        options = {key: value for key, value in rule.items() if key not in _RULE_KEYS}
        if name.startswith("python:"):
            self._only(label, options, ())
            function = python.load(name)
            self.ingredients.add(f"{name} {function.digest}")
            return Pair(function.up, function.down, whole=several)
        converter = CONVERTERS.get(name)
        if converter is None:
            raise Wrong(f"there is no converter {name!r}{_near(name, CONVERTERS)}")
        if field.kind not in converter.kinds:
            raise Wrong(f"the converter {name!r} makes no {field.kind}")
        self._only(label, options, converter.options)
        if name in NEEDS_FEED and not isinstance(options.get("feed"), str):
            raise Wrong("a reference needs feed, the kind of record that it points to")
        for code in dict(options.get("enum", {})).values():
            if code not in field.codes:
                raise Wrong(f"{code!r} is none of its codes{_near(str(code), field.codes)}")
        if field.kind == "enum":
            self.ingredients.add(f"codes {' '.join(field.codes)}")
        if "zone" in options:
            self.ingredients.add(f"tzdata {times.data_version()}")
        self.ingredients.add(f"{name} {converter.version}")
        return converter.build(options, field)

    def _told(self, name: str) -> Told:
        given = self.table.get(name)
        if given is None:
            return Told()
        table = {"default": given} if isinstance(given, str) else dict(given)
        self._only(name, table, {"source", "default"})
        sources = table.get("source", [])
        made = Told(tuple(map(parse, [sources] if isinstance(sources, str) else sources)), table.get("default"))
        if made.default is not None:
            try:
                if name == "zone":
                    times.zone(made.default)
                elif addresses.country(made.default) is None:
                    raise ValueError
            except ValueError:
                self._say(f"{name}: {made.default!r} is none")
        return made

    def _drop(self) -> dict[str, str]:
        found = {}
        for path, reason in dict(self.table.get("drop", {})).items():
            try:
                found[parse(path).fields] = str(reason)
                if not str(reason).strip():
                    self._say(f"drop: {path} needs a reason")
            except ValueError as error:
                self._say(f"drop: {error}")
        return found

    def _deletions(self) -> tuple[Deletion, ...]:
        given = self.table.get("tombstone", [])
        made = []
        for table in [given] if isinstance(given, dict) else given:
            try:
                made.append(self._deletion(table))
            except (ValueError, KeyError) as error:
                self._say(f"tombstone: {error}")
        return tuple(made)

    def _deletion(self, table: Mapping[str, Any]) -> Deletion:
        self._only("tombstone", table, {"grade", "when", "id", "feed", "version"})
        if table.get("grade") not in ("explicit", "archived"):
            raise Wrong("grade is explicit or archived")
        when = table.get("when")
        if not when:
            raise Wrong("when is missing: the path that tells of it")
        asked = {"source": when} if isinstance(when, str) else when
        self._only("tombstone.when", asked, {"source", "is"})
        own = table.get("id", "id")
        ids = own if isinstance(own, dict) else {"source": own}
        feed = table.get("feed", self.table["feed"])
        sources = ids["source"] if isinstance(ids["source"], list) else [ids["source"]]
        return Deletion(
            table["grade"],
            parse(asked["source"]),
            frozenset(_texts(asked.get("is", ()))),
            feed if isinstance(feed, str) else "",
            None if isinstance(feed, str) else dict(feed),
            tuple(map(parse, sources)),
            ids.get("converter") == "link_id",
            parse(table.get("version", asked["source"])),
        )


def declaration(table: Mapping[str, Any]) -> Declaration:
    """The mapper that *table* (shapes and overrides put in) declares. Wrong says everything that is wrong with it."""
    return _Reader(table).read()


def _table(rule: Any) -> Mapping[str, Any]:
    if isinstance(rule, str | list):
        return {"source": rule}
    if not isinstance(rule, dict):
        raise Wrong("a rule is a path, a list of paths or a table")
    return rule


def _texts(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(map(str, given))


def _constant(field: Field, value: Any) -> Any:
    kinds = {"text": str, "int": int, "bool": bool, "decimal": str, "date": str, "enum": str}
    if field.kind != "json" and not isinstance(value, kinds.get(field.kind, ())):
        raise Wrong(f"{value!r} is no {field.kind}")
    if field.kind == "enum" and value not in field.codes:
        raise Wrong(f"{value!r} is none of its codes{_near(value, field.codes)}")
    return [value] if field.many else value


def _near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), 1)
    return f"; do you mean {found[0]!r}?" if found else ""
