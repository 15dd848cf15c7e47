"""The writer of a destination: with the expected version, under an idempotency key, and with bad records set aside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import orjson

from medmirror.errors import AuthenticationFailed, RecordError, RemoteRefused
from medmirror.mapping import Mapper
from medmirror.remotes.base import Pushed, Remote
from medmirror.sync.destination.bases import Entry
from medmirror.sync.destination.decide import Write
from medmirror.sync.destination.translate import document, retirement_fields, to_document

T = TypeVar("T")
R = TypeVar("R")
_GONE = (404, 410)
_WHOLE = frozenset({"fhir"})  # sources where a write replaces the document; elsewhere it changes the given keys


class CounterpartGone(Exception):
    """The record that was to be overwritten does not exist any more: the plan has to be made again."""


class Receipt(NamedTuple):
    """A write that was taken, and its idempotency key."""

    pushed: Pushed
    key: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes records of one feed of a destination. *where*: organisation, source and destination, for the keys."""

    remote: Remote
    feed: str
    mapper: Mapper
    where: tuple[str, ...]

    def push(self, entry: Entry, write: Write) -> Receipt:
        """Write *entry*. Raises StaleWrite, CounterpartGone, RemoteRefused, RecordError (it cannot be written in the
        destination's words) and every other error of a remote.
        """
        over = write.over
        standing, before = (None, None) if over is None else (over.document, over.record)
        body = document(write.record, self.mapper, standing, before, self.remote.source in _WHOLE)
        key = idempotency_key((*self.where, entry.feed, entry.source_id), entry.round, write.action, body)
        place, expected = (None, None) if over is None else (over.id, over.stamp)
        if over is not None and not body:  # the destination cannot hold the changed fields
            return Receipt(Pushed(over.id, over.stamp, over.time), key)
        try:
            pushed = self.remote.push(self.feed, body, id=place, expected=expected, idempotency_key=key)
        except RemoteRefused as error:
            if over is not None and error.context.get("status") in _GONE:
                raise CounterpartGone from None
            raise
        return Receipt(pushed, key)


def can_express(write: Write, mapper: Mapper, entity: str) -> bool:
    """Return whether the destination can hold what a ``drop`` says: that the record was retired."""
    return not {path.partition(".")[0] for path in to_document(write.record, mapper)[1]} & retirement_fields(entity)


def idempotency_key(record: Sequence[str], round_: int, action: str, body: Any) -> str:
    """Return the key of a write.

    It is made of the *record* (organisation, source, destination, feed, id), the number of its base, the action and
    the content. The same write again has the same key; a newer content never has, even after the same base.
    """
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    named = "\x1f".join((*record, str(round_), action)).encode()
    return hashlib.sha256(named + b"\x1f" + hashlib.sha256(text).digest()).hexdigest()[:40]


def is_poison(error: Exception) -> bool:
    """Return whether *error* is about one record: the destination refuses it, or it cannot be written in its words.

    Errors of keys and permissions are about all records.
    """
    if isinstance(error, AuthenticationFailed):
        return False
    return isinstance(error, RecordError | RemoteRefused)


def push_all(
    push: Callable[[Sequence[T]], Sequence[R]], records: Sequence[T], poisoned: Callable[[T, Exception], None]
) -> list[tuple[T, R]]:
    """Write *records* by calls of *push*; return (record, result) of those that were taken, in their order.

    *push* writes all records that it is given, or raises. When it refuses, its records are halved until the bad ones
    are found; those go to *poisoned* and the others are written: k bad ones of n cost about 2 k log n calls. A record
    may be written more than once, so *push* must use idempotency keys.
    """
    if not records:
        return []
    try:
        return list(zip(records, push(records), strict=True))
    except Exception as error:
        if not is_poison(error):
            raise
        if len(records) == 1:
            poisoned(records[0], error)
            return []
    middle = len(records) // 2
    return [*push_all(push, records[:middle], poisoned), *push_all(push, records[middle:], poisoned)]
