"""The sections ``[[table]]`` of a mapping file, which describe a database.

    [[table]]
    kind = "patient"                                # what its records are called here, and to the mapping
    name = "patients"
    schema = "dbo"                                  # where it is not the user's own
    key = ["PatientID"]                             # a record's id is their values, joined by "|"
    updated = "ModifiedAt"                          # orders copies of a record; without it the last one read counts
    time_zone = "Australia/Sydney"                  # of the times in `updated` that name none; else they count as UTC
    deleted = {column = "Active", values = [0]}     # such a row is a deletion: its other values are not kept
    columns = ["FirstName", "LastName"]             # all, when nothing is said; those named above are always read
    where = [{column = "Kind", how = "in", value = ["P", "Q"]}]     # only these rows

``how`` is =, <>, <, <=, >, >=, in (the value is a list) or null (the value is true or false). No SQL
is taken from a mapping file. A pass that leaves rows out with ``where`` is never whole: nothing is taken for deleted
that it did not see.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, NamedTuple

import orjson

from medmirror.dates.zones import zone_or_offset
from medmirror.errors import UsageError
from medmirror.readers.database.tables import Comparison, Table

_HOW = ("=", "<>", "<", "<=", ">", ">=", "in", "null")
_KNOWN = ("kind", "name", "schema", "key", "updated", "time_zone", "deleted", "columns", "where")
_SCALARS = (str, int, float, datetime, date, time)  # bool is an int


class Section(NamedTuple):
    """A section ``[[table]]``: *kind* of the records, their *key*, and what else is known of the columns."""

    kind: str
    table: Table
    key: tuple[str, ...]
    updated: str
    time_zone: str
    deleted: str  # a column; "" for none
    deleted_values: tuple[Any, ...]
    texts: tuple[str, ...] = ()  # the mapping files that stand together with its own

    def facts(self) -> dict[str, int | str]:
        """The facts that the table's items need."""
        return {
            "kind": self.kind,
            "table": self.table.shown,
            "key": orjson.dumps(self.key).decode(),
            "updated": self.updated,
            "time_zone": self.time_zone,
            "deleted": self.deleted,
            "deleted_values": orjson.dumps(self.deleted_values).decode(),
            "narrowed": int(bool(self.table.where)),
        }


def sections(texts: Sequence[str]) -> list[Section]:
    """The tables of all mapping files, in order. Raises UsageError, saying which section is wrong and how."""
    result: list[Section] = []
    for text in texts:
        try:
            tables = tomllib.loads(text).get("table", [])
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"A mapping file is no TOML: {error}.") from None
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise UsageError("A mapping file's tables are sections of their own: write [[table]] above each.")
        result += [
            _section(table, len(result) + number)._replace(texts=tuple(texts)) for number, table in enumerate(tables, 1)
        ]
    kinds = [table.kind for table in result]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise UsageError(f"Two tables give records of kind {twice[0]!r}: name the second one otherwise.")
    return result


def _section(given: Mapping[str, Any], number: int) -> Section:
    where = f"[[table]] number {number}"
    if unknown := sorted(set(given) - set(_KNOWN)):
        raise UsageError(f"{where}: there is no {unknown[0]!r}; there are {', '.join(_KNOWN)}.")
    kind, name = (_take(given, option, _is_name, f"{where}: {option} must be a text") for option in ("kind", "name"))
    where = f"[[table]] {kind!r}"
    key = given.get("key")
    key = [key] if isinstance(key, str) else key
    if not _are_names(key) or not key:
        raise UsageError(f'{where}: key must be a list of columns, for example ["PatientID"].')
    columns = given.get("columns", [])
    if not _are_names(columns):
        raise UsageError(f"{where}: columns must be a list of their names.")
    schema, updated, zone = (
        _take(given, option, _is_name_or_none, f"{where}: {option} must be a text")
        for option in ("schema", "updated", "time_zone")
    )
    if zone:
        _check_zone(zone, where)
    deleted, values = _deleted(given.get("deleted"), where)
    needed = tuple(dict.fromkeys(option for option in (*key, updated, deleted) if option))
    comparisons = tuple(_comparison(option, where) for option in _listed(given.get("where", []), where))
    table = Table(name, schema or None, needed, tuple(columns), comparisons)
    return Section(kind, table, tuple(key), updated or "", zone or "", deleted, values)


def _take(given: Mapping[str, Any], name: str, fits: Callable[[Any], bool], problem: str) -> Any:
    value = given.get(name)
    if not fits(value):
        raise UsageError(f"{problem}.")
    return value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _is_name_or_none(value: Any) -> bool:
    return value is None or _is_name(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_name, value)) and len(set(value)) == len(value)


def _check_zone(zone: str, where: str) -> None:
    try:
        zone_or_offset(zone)
    except ValueError:
        raise UsageError(f"{where}: there is no time zone {zone!r}; write it as Australia/Sydney.") from None


def _deleted(given: Any, where: str) -> tuple[str, tuple[Any, ...]]:
    if given is None:
        return "", ()
    fits = isinstance(given, dict) and set(given) == {"column", "values"} and _is_name(given["column"])
    if not fits or not isinstance(given["values"], list) or not given["values"]:
        raise UsageError(f'{where}: write deleted as {{column = "Active", values = [0]}}.')
    if not all(isinstance(value, str | int | float) for value in given["values"]):
        raise UsageError(f"{where}: the values of deleted must be texts, numbers, true or false.")
    return given["column"], tuple(given["values"])


def _listed(given: Any, where: str) -> list[Any]:
    if not isinstance(given, list):
        raise UsageError(f"{where}: where must be a list of comparisons.")
    return given


def _comparison(given: Any, where: str) -> Comparison:
    given = given if isinstance(given, dict) else {}
    how = given.get("how", "=")
    fits = how in _HOW and set(given) <= {"column", "how", "value"} and _is_name(given.get("column"))
    if not fits or not _comparable(how, given.get("value")):
        raise UsageError(
            f'{where}: write a comparison as {{column = "Status", how = "=", value = "A"}}; how is one of '
            f"{', '.join(_HOW)}; of in the value is a list, of null it is true or false."
        )
    return Comparison(given["column"], how, given["value"])


def _comparable(how: str, value: Any) -> bool:
    if how == "null":
        return isinstance(value, bool)
    if how == "in":
        return isinstance(value, list) and bool(value) and all(isinstance(element, _SCALARS) for element in value)
    return isinstance(value, _SCALARS)
