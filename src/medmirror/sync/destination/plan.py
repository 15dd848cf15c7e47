"""What is to be done with a record that is kept in two places: a pure function of three versions of it.

The *base* is what both sides held when they last agreed, *local* is ours, *remote* theirs.

    local \\ remote    same         changed                             gone
    same              Nothing      Pull                                DropLocal
    changed           Push         Conflict (Agree: both are equal)    Conflict
    gone              DropRemote   Pull                                Forget

With no base: only local, Push; only remote, Pull; both, Conflict or Agree. So no edit is lost to a deletion, and what
somebody deleted there is never made again without a person's word: it takes a Conflict to do that.

A base remembers deletions that were agreed on, too: its side is then one that is not there. A record that both sides
have lost (Forget) keeps its base for the same reason: were it to come back on one side, that is a change, not news.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from medmirror.errors import RemoteEmptied

K = TypeVar("K", bound=Hashable)
SMALLEST = 3  #: fewer records than these may all be gone without an error


class Side(NamedTuple):
    """One copy of a record. *version*: as its system counts (None: it does not say); *hash* of its content, None: the
    record is not there."""

    version: int | str | None
    hash: bytes | None


ABSENT = Side(None, None)


class Base(NamedTuple):
    """Both copies as they were when they last agreed, or when it was agreed that one is to stay away."""

    local: Side
    remote: Side


@dataclass(frozen=True, slots=True)
class Nothing:
    """Neither side has anything new."""


@dataclass(frozen=True, slots=True)
class Push:
    """Ours is to be written there; *new*: they have none."""

    new: bool = False


@dataclass(frozen=True, slots=True)
class Pull:
    """RemoteRecord is news to us; *new*: we have none."""

    new: bool = False


@dataclass(frozen=True, slots=True)
class Agree:
    """Both hold the same: only the base is to be written."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Both have changed it otherwise (*edited*), met for the first time (*met*), or theirs is gone and ours was
    changed (*deleted there*)."""

    kind: Literal["edited", "met", "deleted there"]


@dataclass(frozen=True, slots=True)
class DropRemote:
    """Ours was deleted, theirs is as it was."""


@dataclass(frozen=True, slots=True)
class DropLocal:
    """RemoteRecord was deleted, ours is as it was."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Neither side has it any more."""


Action = Nothing | Push | Pull | Agree | Conflict | DropRemote | DropLocal | Forget
Change = Literal["same", "changed", "gone"]


def change(base: Side, now: Side) -> Change:
    """Return what happened to a copy since *base*.

    The version decides first: an equal version is no change whatever the hash, and a newer one with the same hash is
    none either. A copy that is not there is gone, whether or not that is news.
    """
    if now.hash is None:
        return "gone"
    if base.hash is None:
        return "changed"
    if now.version is not None and now.version == base.version:
        return "same"
    return "same" if now.hash == base.hash else "changed"


def plan(base: Base | None, local: Side, remote: Side, equal: bool | None = None) -> Action:
    """Return the action for a record. *equal*: whether both copies mean the same, where their hashes cannot say it."""
    same = local.hash == remote.hash if equal is None else equal
    if base is None:
        return _first(local, remote, same)
    ours, theirs = change(base.local, local), change(base.remote, remote)
    match ours, theirs:
        case "same", "same":
            return Nothing()
        case "same", "changed":
            return Pull()
        case "same", "gone":
            return DropLocal() if base.remote.hash is not None else Nothing()
        case "changed", "same":
            return Push()
        case "changed", "changed":
            return Agree() if same else Conflict("edited")
        case "changed", "gone":
            return Conflict("deleted there")
        case "gone", "same":
            return DropRemote() if base.local.hash is not None else Nothing()
        case "gone", "changed":
            return Pull()
    return Forget() if base != Base(ABSENT, ABSENT) else Nothing()


def _first(local: Side, remote: Side, same: bool) -> Action:
    if local.hash is None:
        return Nothing() if remote.hash is None else Pull(new=True)
    if remote.hash is None:
        return Push(new=True)
    return Agree() if same else Conflict("met")


def plans(
    bases: Mapping[K, Base],
    locals_: Mapping[K, Side],
    remotes: Mapping[K, Side],
    *,
    allow_empty: bool = False,
) -> Iterator[tuple[K, Action]]:
    """Yield the action for every key of the three, those of *bases* first. Sides that are not named are absent.

    Raises RemoteEmptied, before the first action, when a side held records and now has none of them at all.
    """
    if not allow_empty:
        for sides, now in (
            ([base.local for base in bases.values()], locals_),
            ([base.remote for base in bases.values()], remotes),
        ):
            check(sum(side.hash is not None for side in sides), sum(side.hash is not None for side in now.values()))
    for key in dict.fromkeys((*bases, *locals_, *remotes)):
        yield key, plan(bases.get(key), locals_.get(key, ABSENT), remotes.get(key, ABSENT))


def check(held: int, present: int) -> None:
    """Raise RemoteEmptied when a side held *held* records and none is *present*; a few may all be gone."""
    if held >= SMALLEST and present == 0:
        raise RemoteEmptied(held=held)
