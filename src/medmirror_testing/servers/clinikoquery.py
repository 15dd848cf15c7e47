"""Filters, order and pages of Cliniko's lists, as its API documents them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

import orjson

from medmirror.clock import microseconds
from medmirror_testing.servers import clinikobodies
from medmirror_testing.servers.clinikodata import LISTS, Account, Version
from medmirror_testing.servers.server import Request

_FILTER = re.compile(r"(\w+):(>=|<=|!=|!\?|~~|>|<|=|~|\?|\*)(.*)", re.DOTALL)
_TIMES: Mapping[str, str] = {
    "created_at": "created",
    "updated_at": "updated",
    "archived_at": "archived",
    "cancelled_at": "cancelled",
    "deleted_at": "deleted",
    "starts_at": "starts",
}
_PATIENT = "created_at updated_at archived_at id first_name last_name email old_reference_id"
_APPOINTMENT = "created_at updated_at archived_at cancelled_at starts_at id"
_SEARCHED = {"patient": frozenset(_PATIENT.split()), "appointment": frozenset(_APPOINTMENT.split())}
_ANY = frozenset({"created_at", "updated_at", "id"})
_DELETED = frozenset({"deleted_at", "id", "starts_at"})
KIND_OF = {name: kind for kind, name in LISTS.items()}
MOST = 100
_DEFAULT = 50

Test = Callable[[Version], bool]


class Listed(NamedTuple):
    """A page of a list: its records, the number of all matches, its number and size."""

    records: Sequence[Version]
    total: int
    page: int
    per_page: int


class Refused(Exception):
    """The request is wrong; the text is the API's message."""


def listed(account: Account, kind: str, state: str, request: Request) -> Listed:
    """The requested page of the list of *kind* in *state* ("", archived, cancelled, deleted, inactive)."""
    filters = [_filter(text, kind, state) for text in request.values("q[]")]
    columns = _sort(request)
    low, high = _range([version for version in filters if version[0] == columns[0][0]])
    tests = [_test(account, kind, version) for version in filters]
    lifted = {field for field, _, _ in filters}
    matches = [
        version
        for version in account.between(kind, _TIMES[columns[0][0]], low, high)
        if _visible(version, kind, state, lifted) and all(test(version) for test in tests)
    ]
    for column, down in reversed(columns if len(columns) > 1 or columns[0][1] else ()):
        matches.sort(key=attrgetter(_TIMES[column]), reverse=down)
    page, per_page = _number(request, "page", 1, 1 << 31), _number(request, "per_page", _DEFAULT, MOST)
    return Listed(matches[(page - 1) * per_page : page * per_page], len(matches), page, per_page)


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.value(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise Refused(f"{name} is invalid")
    return min(int(text), most)


def _sort(request: Request) -> list[tuple[str, bool]]:
    order = request.value("order", "asc")
    columns = []
    for text in request.value("sort", "created_at").split(","):
        column, _, own = text.partition(":")
        if column not in _TIMES:
            raise Refused("This column is not sortable.")
        columns.append((column, (own or order) == "desc"))
    return columns


def _filter(text: str, kind: str, state: str) -> tuple[str, str, str]:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise Refused("The filter is invalid.")
    field, operator, value = match.groups()
    if field not in (_DELETED if state == "deleted" else _SEARCHED.get(kind, _ANY)):
        raise Refused("This column is not searchable.")
    allowed = (">=", ">", "<=", "<", "?", "!?", "*") if field in _TIMES else ("=", "!=", "~", "~~", "?", "!?")
    if operator not in allowed:
        raise Refused("This operator is not supported for the column.")
    return field, operator, value


def _moment(value: str) -> int:
    try:
        return microseconds(datetime.fromisoformat(value))
    except (ValueError, TypeError):
        raise Refused("The time is invalid; it must be in UTC.") from None


def _range(filters: Sequence[tuple[str, str, str]]) -> tuple[int, int]:
    low, high = -(1 << 62), 1 << 62
    for _, operator, value in filters:
        if operator in (">=", ">"):
            low = max(low, _moment(value) + (operator == ">"))
        elif operator in ("<=", "<"):
            high = min(high, _moment(value) + (operator == "<="))
    return low, high


def _test(account: Account, kind: str, condition: tuple[str, str, str]) -> Test:
    field, operator, value = condition
    if operator == "*":
        return lambda version: True
    if field in _TIMES:
        name = _TIMES[field]
        if operator in ("?", "!?"):
            return lambda version: bool(getattr(version, name)) == (operator == "?")
        low, high = _range([condition])
        return lambda version: bool(getattr(version, name)) and low <= getattr(version, name) < high
    return _text_test(account, kind, field, operator, value)


def _text_test(account: Account, kind: str, field: str, operator: str, value: str) -> Test:
    def text(version: Version) -> str:
        if field == "id":
            return version.id
        return str(orjson.loads(clinikobodies.body(account, kind, version)).get(field) or "")

    if operator in ("?", "!?"):
        return lambda version: bool(text(version)) == (operator == "?")
    if operator in ("=", "!="):
        wanted = set(value.split(",")) if field == "id" else {value}
        return lambda version: (text(version) in wanted) == (operator == "=")
    pattern = value if operator == "~~" else f"%{value}%"
    like = re.compile(".*".join(map(re.escape, pattern.split("%"))), re.IGNORECASE | re.DOTALL)
    return lambda version: bool(like.fullmatch(text(version)))


def _visible(version: Version, kind: str, state: str, lifted: set[str]) -> bool:
    """Whether a list shows *version*; *lifted*: fields whose filter brings back records that are left out otherwise."""
    if bool(version.deleted) != (state == "deleted"):
        return False
    if state == "deleted":
        return True
    if kind == "practitioner":
        return version.active == (state != "inactive")
    if state == "archived":
        return bool(version.archived)
    if state == "cancelled":
        return bool(version.cancelled) and (not version.archived or "archived_at" in lifted)
    return (not version.archived or "archived_at" in lifted) and (not version.cancelled or "cancelled_at" in lifted)
