"""Writing to a destination: with the version that is expected there, under a key that makes a repeat harmless, and with
a bad record found among good ones."""

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
from medmirror.sync.destination.translate import document, retiring
from medmirror.sync.destination.translate import write as say

T = TypeVar("T")
R = TypeVar("R")
_GONE = (404, 410)
_WHOLE = frozenset({"fhir"})  # sources whose documents are replaced by a write; of others the given keys are changed


class Gone(Exception):
    """The record that was to be written over is not there any more: the plan has to be made again."""


class Done(NamedTuple):
    """A write that was taken, and the idempotency key that it was made under."""

    pushed: Pushed
    key: str


@dataclass(frozen=True, slots=True)
class Pusher:
    """Writes records of one feed of a destination. *where* tells organisation, source and destination apart."""

    remote: Remote
    feed: str
    mapper: Mapper
    where: tuple[str, ...]

    def push(self, one: Entry, write: Write) -> Done:
        """Write it. Raises StaleWrite, Gone, RemoteRefused, RecordError (it cannot be said in the destination's words)
        and whatever else a remote raises."""
        over = write.over
        standing, before = (None, None) if over is None else (over.document, over.record)
        body = document(write.record, self.mapper, standing, before, self.remote.source in _WHOLE)
        key = idempotency_key((*self.where, one.feed, one.source_id), one.round, write.action, body)
        place, expected = (None, None) if over is None else (over.id, over.stamp)
        if over is not None and not body:  # what would be changed cannot be said there
            return Done(Pushed(over.id, over.stamp, over.time), key)
        try:
            pushed = self.remote.push(self.feed, body, id=place, expected=expected, idempotency_key=key)
        except RemoteRefused as error:
            if over is not None and error.context.get("status") in _GONE:
                raise Gone from None
            raise
        return Done(pushed, key)


def can_tell(write: Write, mapper: Mapper, entity: str) -> bool:
    """Whether the destination can hold what a ``drop`` says: that the record was put away."""
    return not {path.partition(".")[0] for path in say(write.record, mapper)[1]} & retiring(entity)


def idempotency_key(record: Sequence[str], round_: int, action: str, body: Any) -> str:
    """The key of a write: of the *record* (organisation, source, destination, feed, id), of its base (by its number),
    of the action and of what is written. The same write again has the same key; a newer content never has, though it
    be written after the same base."""
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    named = "\x1f".join((*record, str(round_), action)).encode()
    return hashlib.sha256(named + b"\x1f" + hashlib.sha256(text).digest()).hexdigest()[:40]


def is_poison(error: Exception) -> bool:
    """Whether *error* is about one record: the destination refuses it, or it cannot be said in its words. Keys and
    permissions are about all of them."""
    if isinstance(error, AuthenticationFailed):
        return False
    return isinstance(error, RecordError | RemoteRefused)


def push_all(
    push: Callable[[Sequence[T]], Sequence[R]], records: Sequence[T], poisoned: Callable[[T, Exception], None]
) -> list[tuple[T, R]]:
    """Write *records* by calls of *push*, which writes all that it is given or raises; return (record, what came back)
    of those that were taken, in their order.

    When a call is refused its records are halved until the bad ones are found; those go to *poisoned* and the others
    are written: k bad ones of n cost about 2 k log n calls. A record may be written more than once, so *push* is under
    idempotency keys.
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
