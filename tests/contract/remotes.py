"""How a contract test opens each kind of remote, on a local server of its own.

A kind has an ``Opener`` in a module beside this one, ``remotes_NAME.py``, in its tuple ``OPENERS``; there is no other
list to edit. ``can`` says which parts of the contract are for it; a test compares that with its capabilities.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medmirror.remotes.base import Around, Remote
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.hostile import Faults

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  #: what the clock of each remote shows at first

Part = Literal["ordered", "deleted", "window", "hidden", "get", "push", "http", "key", "touch"]
"""Of the contract: *ordered*: pages in the order of time, each with its ``upto``; *deleted*: a list of them; *window*;
*hidden*: records that its lists leave out unless they are asked for; *get*; *push*; *http*: faults of a server;
*key*: a secret without which nothing is given; *touch*: records can be changed between two pages."""


@dataclass(frozen=True)
class Side:
    """A system with a remote of it. Times are aware; ids as the source reads them."""

    source: str
    feed: str  # the list that *make* makes records of
    clock: SimulatedClock  # what the system goes by
    open: Callable[[Around], Remote]
    make: Callable[[Sequence[datetime]], list[str]]  # records, each changed at its time; their ids in that order
    ids: Callable[[], set[str]]  # of what is there, and not deleted
    per_page: int  # the most records of a page; what is made in one go beyond it takes two
    touch: Callable[[str], None] = lambda id: None  # change a record, now
    delete: Callable[[str], None] = lambda id: None
    hide: Callable[[str], None] = lambda id: None  # archive it, or the like
    begin: Callable[[datetime], str] = lambda starts: ""  # a record of the windowed feed that begins then
    document: Callable[[int, str], Mapping[str, Any]] = (
        lambda number, text: {}
    )  # to push: person *number*, saying *text*
    version: Callable[[str], str | None] = lambda id: None  # of a record, as ``push`` expects it
    says: Callable[[str], str] = lambda id: ""  # the text that a pushed record says
    open_wrong: Callable[[Around], Remote] | None = None  # with a key that is none
    faults: Faults = field(default_factory=Faults)
    secrets: Sequence[str] = ()  # what must never be said
    given: Mapping[str, str] = field(default_factory=dict)  # what the source wants to know beside the organisation


class Opener(NamedTuple):
    """*open* makes an empty system in a folder of the test's own, for as long as a `with` lasts."""

    kind: str
    can: frozenset[Part]
    open: Callable[[Path], AbstractContextManager[Side]]


def openers() -> dict[str, Opener]:
    """Every opener by its kind."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("remotes_*.py"))
    return {one.kind: one for name in names for one in importlib.import_module(name).OPENERS}
