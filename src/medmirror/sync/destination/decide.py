"""What comes of one record of ours and its copy: the plan, the strategy and a person's word put together. Pure.

In this direction the mirror is a copy of the source, and nothing is written back: what was changed in the destination
alone stays there as it is (*kept*), and the base stays, too, so that a later change of ours to the same record is a
conflict, and not a write over somebody's edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from medmirror.mapping import canonical_hash
from medmirror.sync.destination.bases import Agreement, Entry
from medmirror.sync.destination.conflict import Agreed, Held, Policy, changed_fields, decide, flat
from medmirror.sync.destination.pages import Theirs
from medmirror.sync.destination.plan import (
    ABSENT,
    Agree,
    Conflict,
    DropLocal,
    DropRemote,
    Forget,
    Nothing,
    Pull,
    Push,
    Side,
    plan,
)
from medmirror.sync.destination.translate import Projected, overlaid, restrict, retired, retiring, shared, tells_retired

Word = Literal["source", "destination", "apart"]
Met = Literal["identity", "overlap"]


@dataclass(frozen=True, slots=True)
class Write:
    """Write *record* (canonical, in the destination's words) over *over*, or as a new one (None). *local* is what we
    shall have agreed on from our side; *count* says what it is counted as."""

    action: Literal["push", "drop"]
    record: dict[str, Any]
    over: Theirs | None
    local: dict[str, Any] | None
    names: frozenset[str]  # the fields of *record* that are ours
    count: str = ""  # beside "pushed"


@dataclass(frozen=True, slots=True)
class Note:
    """Write the base alone."""

    agreement: Agreement
    outcome: Literal["agreed", "parted"]
    count: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Write nothing; *outcome* is noted."""

    outcome: Literal["agreed", "kept", "ignored", "parted", "waiting"]
    count: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Write nothing until a person has said what is right."""

    kind: str
    why: str
    theirs: Theirs | None


Verdict = Write | Note | Leave | Ask


class _Seen(NamedTuple):
    """One record as both sides have it now. *names*: the fields that are ours to look at."""

    local: dict[str, Any] | None
    names: set[str]
    remote: dict[str, Any] | None


def weigh(
    one: Entry,
    ours: Projected | None,
    theirs: Theirs | None,
    policy: Policy,
    utc: str,
    word: Word | None = None,
    met: Met = "identity",
) -> Verdict:
    """What is to be done about *one*. *ours*: as the destination would show it (None: it was deleted here); *theirs*:
    its copy, or the record that it met there; *word*: what a person said of this very case; *utc*: now."""
    local = None if ours is None else restrict(ours.record, shared(ours.record))
    names = shared(local, _before(one))
    remote = None if theirs is None or theirs.gone else restrict(theirs.record, names)
    seen = _Seen(local, names, remote)
    here = ABSENT if local is None else Side(None, canonical_hash(local))
    there = ABSENT if theirs is None or remote is None else _their_side(one, theirs, local)
    action = plan(one.base, here, there, local == remote)
    match action:
        case Nothing():
            return Leave("agreed" if local is not None and remote is not None else "parted", "unchanged")
        case Agree():
            return _note(seen, theirs, "agreed")
        case Pull():
            return Leave("kept", "kept")
        case DropLocal():
            return Note(Agreement(local, None), "parted", "parted")
        case Forget():
            return Note(Agreement(None, None), "parted", "forgotten")
        case DropRemote():
            assert theirs is not None
            return _drop(one, theirs, utc, word)
        case Push():
            return _push(one, ours, theirs, seen)
        case Conflict(kind="deleted there"):
            return _deleted_there(ours, local, word)
        case Conflict(kind=kind):
            assert theirs is not None
            return _conflict(one, theirs, seen, policy, kind, word, met)


def _before(one: Entry) -> dict[str, Any] | None:
    """What ours was when both agreed; of one that was deleted here then, what was left of it there."""
    return one.remote_record if one.local_record is None else one.local_record


def _their_side(one: Entry, theirs: Theirs, local: dict[str, Any] | None) -> Side:
    """The copy as the plan sees it. A field that is new on our side, and was filled in otherwise on theirs, is a change
    of theirs: it must not be written over because the copy's version is the old one."""
    before = shared(_before(one))
    found = canonical_hash(restrict(theirs.record, before))
    held, mine = flat(theirs.record), flat(local or {})
    if one.based and any(name in held and held[name] != mine[name] for name in shared(local) - before):
        return Side(None, b"filled in" + found)
    return Side(theirs.stamp, found)


def _note(seen: _Seen, theirs: Theirs | None, count: str) -> Note:
    place, stamp = ((theirs.feed, theirs.id), theirs.stamp) if theirs else (None, None)
    assert seen.local is not None
    remote = restrict(seen.remote or {}, shared(seen.local))
    return Note(Agreement(seen.local, remote, place, stamp), "agreed", count)


def _push(one: Entry, ours: Projected | None, theirs: Theirs | None, seen: _Seen) -> Verdict:
    assert ours is not None
    if theirs is None:
        return Write("push", ours.record, None, seen.local, _names(seen.local))
    # Only what was changed here: where it was agreed to differ, theirs stays.
    new = overlaid(theirs.record, ours.record, changed_fields(_before(one) or {}, seen.local or {}))
    return _over(new, theirs, seen)


def _names(local: dict[str, Any] | None) -> frozenset[str]:
    return frozenset(shared(local))


def _over(new: dict[str, Any], theirs: Theirs, seen: _Seen, count: str = "") -> Verdict:
    if new == theirs.record:
        return _note(seen, theirs, count or "agreed")
    return Write("push", new, theirs, seen.local, _names(seen.local), count)


def _drop(one: Entry, theirs: Theirs, utc: str, word: Word | None) -> Verdict:
    if word is not None:  # somebody has seen to it, or says that it stays
        return Note(Agreement(None, None), "parted", "parted")
    names = frozenset(shared(one.local_record) | retiring(one.entity))
    if tells_retired(theirs.record, one.entity):
        place = (theirs.feed, theirs.id)
        return Note(Agreement(None, restrict(theirs.record, names), place, theirs.stamp), "parted", "agreed")
    new = retired(theirs.record, one.entity, utc)
    if new is None:
        return Ask("not tellable", f"there is no way to say of a {one.entity} there that it is gone", theirs)
    return Write("drop", new, theirs, None, names, "dropped")


def _deleted_there(ours: Projected | None, local: dict[str, Any] | None, word: Word | None) -> Verdict:
    assert ours is not None
    if word in ("source", "apart"):
        return Write("push", ours.record, None, local, _names(local), "made again")
    if word == "destination":
        return Note(Agreement(local, None), "parted", "parted")
    return Ask("deleted there", "it was changed here after somebody had deleted it there", None)


def _conflict(
    one: Entry, theirs: Theirs, seen: _Seen, policy: Policy, kind: str, word: Word | None, met: Met
) -> Verdict:
    assert seen.local is not None
    assert seen.remote is not None
    base = None
    if one.based and one.local_record is not None:
        base = Agreed(one.local_record, one.local_record if one.remote_record is None else one.remote_record)
    if word == "source":
        take, record, why = "local", seen.local, ""
    elif word == "destination":
        take, record, why = "remote", None, ""
    else:
        take, record, why = decide(policy, base, Held(seen.local, one.version), Held(seen.remote, theirs.time or None))
    if take == "wait":
        return Ask("overlap" if met == "overlap" else kind, why, theirs)
    if take == "remote":
        if kind == "met" and met == "identity":  # a pair all the same: what refers to ours must find theirs
            return _note(seen, theirs, "ignored")
        return Leave("ignored", "ignored")
    return _over(overlaid(theirs.record, record or {}, seen.names), theirs, seen, "conflicts")
