"""Mapper files: TOML that says which canonical field comes from where.

    [[mapper]]
    source = "cliniko"
    feed = "patient"                        # as sync_mapping names it
    entity = "patient"                      # what it becomes: schema.ENTITIES
    zone = { source = "time_zone", default = "Australia/Sydney" }    # of times without one; or just a text
    region = { source = "country", default = "AU" }                  # of telephone numbers without one; or just a text
    empty = ["N/A", "-"]                    # texts that mean nothing, in every field
    placeholders = ["1970-01-01"]           # days that mean nothing, besides 1900-01-01 and others (``placeholders``)
    optional = ["Fax"]                      # columns that need not be there: a table without another one is refused

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
    # Of another record: id = "path", or id = { source = "links.self", converter = "link_id" }, cut from a URL;
    # feed = "patient", or feed = { patients = "patient" }, read from the piece before. version = "path" of a time,
    # if it is not in *when* itself.

    [[ignore]]                              # feeds that are not mapped, and why
    source = "cliniko"
    feed = ["invoice"]
    reason = "money is no part of the canonical schema"

    [defaults]                              # zone, region, empty of every mapper of this file that has none
    [shape.concept]                         # rules to use as fields = "concept"

A target is a field of the entity; ``[word]`` after a list names one slot of it, in the order of the file; ``a.b`` goes
into a part; a part's own name alone means its main field (``emails[0] = "email"``). Rule keys: source, value,
converter, required, optional (the column need not be there: true, or which), default (what the source is taken to say
when it says nothing), fields, join, split, empty, and the options of its converter (see ``converters``). Several
sources: the first that has a value, unless the target is a list, ``join`` is given, or the converter is a Python
function. Paths: see ``paths``.

A user's file need not repeat anything: a rule of it replaces ours of the same target when it has a source or a value,
else adds its keys to it. Other tables at the top of a file are the source's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmirror.dates import zones
from medmirror.mapping.convert import addresses, times
from medmirror.mapping.rules.declared import Declaration, Deletion, DocumentFact, Node
from medmirror.mapping.rules.paths import parse
from medmirror.mapping.rules.targets import Reader, Wrong, near, only, texts
from medmirror.mapping.schema.entities import ENTITIES

ENGINE = 2  #: goes up when the same rules and converters come to another result
_KEYS = {"source", "feed", "entity", "fields", "drop", "tombstone", "zone", "region", "empty", "placeholders",
         "optional", "about"}  # fmt: skip


def declaration(table: Mapping[str, Any]) -> Declaration:
    """The mapper that *table* (with shapes and overrides put in) declares. Raises Wrong with all mistakes in it."""
    name = f"{table.get('source')}.{table.get('feed')}"
    if "entity" not in table:
        raise Wrong(f"{name}: it does not say which entity it makes")
    entity = ENTITIES.get(str(table["entity"]))
    if entity is None:
        raise Wrong(f"{name}: there is no entity {table.get('entity')!r}{near(str(table.get('entity')), ENTITIES)}")
    reader = Reader(frozenset(texts(table.get("empty", ()))), texts(table.get("placeholders", ())))
    wrong = reader.wrong
    for day in reader.placeholders:
        _try(wrong, f"placeholders: {day!r} is no day like 1970-01-01", times.partial, day)
    for text in texts(table.get("optional", ())):
        if (path := _try(wrong, "optional", parse, text)) is not None:
            reader.optional.add(path.fields)
    _try(wrong, "mapper", only, table, _KEYS)
    node = reader.node(entity, table.get("fields", {}), "")
    wrong += _needed(node)
    zone = _try(wrong, "zone", _document_fact, table.get("zone"), zones.zone_or_offset, reader.empty) or DocumentFact()
    region = _try(wrong, "region", _document_fact, table.get("region"), _known_country, reader.empty) or DocumentFact()
    if zone != DocumentFact():
        reader.ingredients.add(f"tzdata {zones.data_version()}")
    if region != DocumentFact():
        reader.ingredients.add(f"countries {addresses.data_version()}")
    drop = _drop(table.get("drop", {}), wrong)
    tombstones = table.get("tombstone", [])
    deletions = [
        _try(wrong, "tombstone", _deletion, entry, str(table.get("feed")))
        for entry in ([tombstones] if isinstance(tombstones, dict) else tombstones)
    ]
    if wrong:
        raise Wrong("\n".join(f"{name}: {line}" for line in wrong))
    return Declaration(
        table["source"],
        table["feed"],
        entity.name,
        node,
        drop,
        tuple(deletion for deletion in deletions if deletion is not None),
        zone,
        region,
        dict(table),
        (f"engine {ENGINE}", *sorted(reader.ingredients)),
        frozenset(reader.optional),
    )


def _try(wrong: list[str], what: str, function: Any, *values: Any) -> Any:
    """The result of *function*; None, and a line in *wrong*, when it refuses *values*."""
    try:
        return function(*values)
    except Wrong as error:
        wrong.append(f"{what}: {error}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        wrong.append(f"{what}: {error if isinstance(error, ValueError) else 'it is not what it should be'}")
    return None


def _needed(node: Node) -> list[str]:
    held = {leaf.field.name for leaf in node.leaves} | {nested.field.name for nested in node.nested}
    return [
        f"{field.name}: every {node.part.name} needs it, and no rule gives it"
        for field in node.part.fields
        if field.required and field.name not in held
    ]


def _known_country(name: str) -> None:
    if addresses.country(name) is None:
        raise Wrong(f"{name!r} is no country")


def _document_fact(option: Any, check: Any, empty: frozenset[str]) -> DocumentFact:
    if option is None:
        return DocumentFact()
    table = {"default": option} if isinstance(option, str) else option
    only(table, {"source", "default"})
    if (default := table.get("default")) is not None:
        check(default)
    return DocumentFact(tuple(map(parse, texts(table.get("source", ())))), default, empty)


def _drop(table: Mapping[str, Any], wrong: list[str]) -> dict[str, str]:
    reasons = {}
    for path, reason in table.items():
        if not isinstance(reason, str) or not reason.strip():
            wrong.append(f"drop: {path} needs a reason")
        elif (read := _try(wrong, "drop", parse, path)) is not None:
            reasons[read.fields] = reason
    return reasons


def _deletion(table: Mapping[str, Any], own_feed: str) -> Deletion:
    only(table, {"grade", "when", "id", "feed", "version"})
    if table.get("grade") not in ("explicit", "archived"):
        raise Wrong("grade is explicit or archived")
    when = table.get("when")
    if not when:
        raise Wrong("when is missing: the path that tells of it")
    condition = {"source": when} if isinstance(when, str) else when
    only(condition, {"source", "is"})
    id_option = table.get("id", ())
    ids = id_option if isinstance(id_option, dict) else {"source": id_option}
    only(ids, {"source", "converter"})
    if ids.get("converter", "link_id") != "link_id":
        raise Wrong("an id is taken as it is, or its converter is link_id")
    feed = table.get("feed", own_feed)
    if feed != own_feed and not ids["source"]:
        raise Wrong("another feed's record needs its id")
    return Deletion(
        table["grade"],
        parse(condition["source"]),
        frozenset(texts(condition.get("is", ()))),
        feed if isinstance(feed, str) else "",
        None if isinstance(feed, str) else dict(feed),
        tuple(map(parse, texts(ids["source"]))),
        ids.get("converter") == "link_id",
        parse(table.get("version", condition["source"])),
    )
