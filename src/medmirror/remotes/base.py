"""What every remote can be asked: the one protocol between the engine and the systems that records come from.

A remote knows no database and no watermark. It gives pages: bytes as the source of the same kind reads them from a file
(``medmirror.sources``), so that there is one parser of a format, not two. Times are microseconds since 1970 UTC, as the
versions of records are.

**A list never ends early.** An iterator ends when everything that was asked for has been given; every other end is an
error. What a remote holds back (other permissions, an archived state) it must ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from medmirror.sources.base import Context

MICROSECOND = 1_000_000  #: a second in the unit of all times here


class Position(NamedTuple):
    """A place in a list that is ordered by (time of change, id). Ids are compared as text, and only among equal
    times."""

    time: int
    id: str = ""


BEGINNING = Position(0)


class Page(NamedTuple):
    """Some records of a list.

    *feed* is the list's, *name* what the ledger shows of it (no host, key, token or value of a record); *body* what
    the source reads: bytes, or a file on disk; *records* how many records it holds. *upto*: everything of the list up
    to there is in this page and those before it; None: that is only known at the end. *context*: the facts that the
    source needs of it, where they cannot be found in the bytes. *beneath*: the folder that a file was found in, below
    which no link is followed.
    """

    feed: str
    name: str
    body: bytes | Path
    records: int
    upto: Position | None = None
    context: Context | None = None
    beneath: Path | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a remote can do. Names are of feeds, as the remote calls its lists; *feeds* with referenced ones first."""

    feeds: tuple[str, ...]
    deleted: tuple[str, ...] = ()  # have a list of what was deleted
    windowed: tuple[str, ...] = ()  # can be listed by the time at which their records begin (appointments)
    push: tuple[str, ...] = ()  # can be written
    get: bool = False
    ordered: bool = True  # pages come in the order of (time of change, id), each with its `upto`
    conditional: bool = False  # answers "not modified" (ETag, Last-Modified)
    extra: Mapping[str, str] = field(default_factory=dict)  # anything else a person may want to know


class Pushed(NamedTuple):
    """A write that the remote has taken: the record's id there, its version now (as the remote writes it), and when."""

    id: str
    version: str | None
    time: int


class Remote(Protocol):
    """A system that records come from, opened for one organisation. Not shared between threads.

    Errors: RateLimited and StillPreparing (context *wait*, seconds), RemoteUnavailable, PageExpired, ListingIncomplete,
    AuthenticationFailed, RemoteRefused; for ``push`` also StaleWrite. None of them names a host's key, a query or a
    value of a record.
    """

    @property
    def source(self) -> str:
        """The source whose reader takes the pages."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def now(self) -> int:
        """The time by the REMOTE's clock: the upper bound of a fetch is taken from it before the first request."""

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        """Every record of *feed*, archived and cancelled ones too, that was changed at or after *since* and not after
        *until*, in the order of (time of change, id). From ``BEGINNING`` that is every record there is.

        A record that is changed while the list is read may come twice, or (when it is then later than *until*) not at
        all; no other record is missed for it.
        """

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        """Every record of a windowed *feed* that begins in [*start*, *end*), whenever it was changed. Aware times."""

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        """What was deleted at or after *since* and not after *until*."""

    def get(self, feed: str, id: str) -> Page | None:
        """The record *id* as a page of one; None: there is none."""

    def push(
        self, feed: str, document: Mapping[str, Any], *, id: str | None, expected: str | None, idempotency_key: str
    ) -> Pushed:
        """Write *document* as record *id* (None: a new one), if its version there is still *expected*.

        The same *idempotency_key* again writes nothing and returns what the first one did. StaleWrite otherwise.
        """

    def close(self) -> None:
        """End its connections."""


class Secret:
    """A key or password on its way to a remote. Never shown: not by repr, not by pickle, not by str."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> Any:
        raise TypeError("A secret is not pickled: name its variable or file, and read it where it is used.")


class Notes(Protocol):
    """Small texts that a remote keeps between runs of one organisation: a polling URL, an ETag."""

    def get(self, name: str) -> str | None:
        """The text kept as *name*."""

    def set(self, name: str, value: str | None) -> None:
        """Keep *value* as *name*; None: forget it. Kept at once, not with the records."""


class NoNotes:
    """Keeps nothing beyond this object."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        """The text kept as *name*."""
        return self._kept.get(name)

    def set(self, name: str, value: str | None) -> None:
        """Keep *value* as *name*; None: forget it."""
        if value is None:
            self._kept.pop(name, None)
        else:
            self._kept[name] = value


@dataclass(frozen=True, slots=True)
class Around:
    """What a remote needs of the program around it.

    *permit* is called before each request: it waits, or raises RateLimited, when the budget is used up. *limited* is
    told how many seconds the remote wants to be left alone. *called* is told each request's outcome (its HTTP status;
    0: none came). *unread* is told of each thing that a list had to pass over and that may hold records: what was given
    is then not all there is. *lacking* is told of each feed that the remote does not give us at all. *sleep* waits.
    """

    permit: Callable[[], None] = lambda: None
    limited: Callable[[float], None] = lambda seconds: None
    called: Callable[[int], None] = lambda status: None
    unread: Callable[[], None] = lambda: None
    lacking: Callable[[str], None] = lambda feed: None
    sleep: Callable[[float], None] = lambda seconds: None
    notes: Notes = field(default_factory=NoNotes)


class Kind(NamedTuple):
    """One kind of remote; each module of this package that is one has it as ``REMOTE``.

    *settings*: what an organisation's settings may hold and what each means, for people. *open* raises UsageError when
    they are wrong. *windows*: the budget where the organisation names none: (requests, seconds) each.
    """

    name: str
    settings: Mapping[str, str]
    open: Callable[[str, Mapping[str, Any], Secret | None, Around], Remote]  # (organization, settings, secret, around)
    windows: tuple[tuple[int, int], ...] = ()
