"""The decision about a record of ours and its counterpart, from plan, strategy and a person's choice. Pure.

In this direction the mirror is a copy of the source, and nothing is written back. A record that was changed in the
destination alone stays there as it is (*kept*). Its base stays, too, so that a later change of ours to the same record
is a conflict, and does not overwrite that edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from medmirror.mapping import canonical_hash
from medmirror.sync.destination.bases import Agreement, Entry
from medmirror.sync.destination.conflict import Agreed, Held, Policy, changed_fields, decide, flat
from medmirror.sync.destination.pages import RemoteRecord
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
from medmirror.sync.destination.translate import (
    Projection,
    compared_fields,
    is_retired,
    overlay,
    restrict,
    retire,
    retirement_fields,
)

Choice = Literal["source", "destination", "apart"]
MatchedBy = Literal["identity", "overlap"]


@dataclass(frozen=True, slots=True)
class Write:
    """Write *record* (canonical, in the destination's words) over *over*, or as a new one (None).

    *local* is our side of the base afterwards; *count* the name under which it is counted.
    """

    action: Literal["push", "drop"]
    record: dict[str, Any]
    over: RemoteRecord | None
    local: dict[str, Any] | None
    names: frozenset[str]  # the fields of *record* that we compare
    count: str = ""  # counted in addition to "pushed"


@dataclass(frozen=True, slots=True)
class Note:
    """Write the base alone."""

    agreement: Agreement
    outcome: Literal["agreed", "parted"]
    count: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Write nothing; the *outcome* is noted."""

    outcome: Literal["agreed", "kept", "ignored", "parted", "waiting"]
    count: str


@dataclass(frozen=True, slots=True)
class Question:
    """Write nothing until a person has decided."""

    kind: str
    why: str
    counterpart: RemoteRecord | None


Verdict = Write | Note | Leave | Question


class _Versions(NamedTuple):
    """A record as both sides have it now. *names*: the fields that are ours to compare."""

    local: dict[str, Any] | None
    names: set[str]
    remote: dict[str, Any] | None


def decide_entry(
    entry: Entry,
    projection: Projection | None,
    counterpart: RemoteRecord | None,
    policy: Policy,
    utc: str,
    choice: Choice | None = None,
    matched_by: MatchedBy = "identity",
) -> Verdict:
    """Return what is to be done about *entry*.

    *projection*: it as the destination would show it (None: it was deleted here); *counterpart*: its copy, or the
    record that it was matched with; *choice*: a person's decision about this very case; *matched_by*: how the two were
    matched; *utc*: now.
    """
    local = None if projection is None else restrict(projection.record, compared_fields(projection.record))
    names = compared_fields(local, _before(entry))
    remote = None if counterpart is None or counterpart.gone else restrict(counterpart.record, names)
    versions = _Versions(local, names, remote)
    here = ABSENT if local is None else Side(None, canonical_hash(local))
    there = ABSENT if counterpart is None or remote is None else _remote_side(entry, counterpart, local)
    action = plan(entry.base, here, there, local == remote)
    match action:
        case Nothing():
            return Leave("agreed" if local is not None and remote is not None else "parted", "unchanged")
        case Agree():
            return _note(versions, counterpart, "agreed")
        case Pull():
            return Leave("kept", "kept")
        case DropLocal():
            return Note(Agreement(local, None), "parted", "parted")
        case Forget():
            return Note(Agreement(None, None), "parted", "forgotten")
        case DropRemote():
            assert counterpart is not None
            return _drop(entry, counterpart, utc, choice)
        case Push():
            return _push(entry, projection, counterpart, versions)
        case Conflict(kind="deleted there"):
            return _deleted_there(projection, local, choice)
        case Conflict(kind=kind):
            assert counterpart is not None
            return _conflict(entry, counterpart, versions, policy, kind, choice, matched_by)


def _before(entry: Entry) -> dict[str, Any] | None:
    """Return our side of the base; of a record that was deleted here then, the fields that stayed of it there."""
    return entry.remote_record if entry.local_record is None else entry.local_record


def _remote_side(entry: Entry, counterpart: RemoteRecord, local: dict[str, Any] | None) -> Side:
    """Return the copy as the plan sees it.

    A field that is new on our side, and was filled in otherwise on theirs, counts as a change of theirs: it must not
    be overwritten because the copy's version is the old one.
    """
    before = compared_fields(_before(entry))
    digest = canonical_hash(restrict(counterpart.record, before))
    remote_fields, local_fields = flat(counterpart.record), flat(local or {})
    if entry.based and any(
        name in remote_fields and remote_fields[name] != local_fields[name] for name in compared_fields(local) - before
    ):
        return Side(None, b"filled in" + digest)
    return Side(counterpart.stamp, digest)


def _note(versions: _Versions, counterpart: RemoteRecord | None, count: str) -> Note:
    place, stamp = ((counterpart.feed, counterpart.id), counterpart.stamp) if counterpart else (None, None)
    assert versions.local is not None
    remote = restrict(versions.remote or {}, compared_fields(versions.local))
    return Note(Agreement(versions.local, remote, place, stamp), "agreed", count)


def _push(
    entry: Entry, projection: Projection | None, counterpart: RemoteRecord | None, versions: _Versions
) -> Verdict:
    assert projection is not None
    if counterpart is None:
        return Write("push", projection.record, None, versions.local, _names(versions.local))
    # Only the fields changed here: where both agreed to differ, the destination's value stays.
    new = overlay(counterpart.record, projection.record, changed_fields(_before(entry) or {}, versions.local or {}))
    return _over(new, counterpart, versions)


def _names(local: dict[str, Any] | None) -> frozenset[str]:
    return frozenset(compared_fields(local))


def _over(new: dict[str, Any], counterpart: RemoteRecord, versions: _Versions, count: str = "") -> Verdict:
    if new == counterpart.record:
        return _note(versions, counterpart, count or "agreed")
    return Write("push", new, counterpart, versions.local, _names(versions.local), count)


def _drop(entry: Entry, counterpart: RemoteRecord, utc: str, choice: Choice | None) -> Verdict:
    if choice is not None:  # a person has settled it, or decided that it stays
        return Note(Agreement(None, None), "parted", "parted")
    names = frozenset(compared_fields(entry.local_record) | retirement_fields(entry.entity))
    if is_retired(counterpart.record, entry.entity):
        place = (counterpart.feed, counterpart.id)
        return Note(Agreement(None, restrict(counterpart.record, names), place, counterpart.stamp), "parted", "agreed")
    new = retire(counterpart.record, entry.entity, utc)
    if new is None:
        return Question(
            "not tellable", f"there is no way to say of a {entry.entity} there that it is gone", counterpart
        )
    return Write("drop", new, counterpart, None, names, "dropped")


def _deleted_there(projection: Projection | None, local: dict[str, Any] | None, choice: Choice | None) -> Verdict:
    assert projection is not None
    if choice in ("source", "apart"):
        return Write("push", projection.record, None, local, _names(local), "made again")
    if choice == "destination":
        return Note(Agreement(local, None), "parted", "parted")
    return Question("deleted there", "it was changed here after somebody had deleted it there", None)


def _conflict(
    entry: Entry,
    counterpart: RemoteRecord,
    versions: _Versions,
    policy: Policy,
    kind: str,
    choice: Choice | None,
    matched_by: MatchedBy,
) -> Verdict:
    assert versions.local is not None
    assert versions.remote is not None
    base = None
    if entry.based and entry.local_record is not None:
        base = Agreed(entry.local_record, entry.local_record if entry.remote_record is None else entry.remote_record)
    if choice == "source":
        take, record, why = "local", versions.local, ""
    elif choice == "destination":
        take, record, why = "remote", None, ""
    else:
        take, record, why = decide(
            policy, base, Held(versions.local, entry.version), Held(versions.remote, counterpart.time or None)
        )
    if take == "wait":
        return Question("overlap" if matched_by == "overlap" else kind, why, counterpart)
    if take == "remote":
        if kind == "met" and matched_by == "identity":  # still a pair: references to our record must find the copy
            return _note(versions, counterpart, "ignored")
        return Leave("ignored", "ignored")
    return _over(overlay(counterpart.record, record or {}, versions.names), counterpart, versions, "conflicts")
