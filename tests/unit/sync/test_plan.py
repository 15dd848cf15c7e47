"""What is to be done with a record in two places: the table, and both sides after any history."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from medmirror.errors import RemoteEmptied
from medmirror.sync.destination.plan import (
    ABSENT,
    Action,
    Agree,
    Base,
    Conflict,
    DropLocal,
    DropRemote,
    Forget,
    Nothing,
    Pull,
    Push,
    Side,
    change,
    plan,
    plans,
)

OLD, NEW, OTHER = Side(1, b"old"), Side(2, b"new"), Side(3, b"other")
BOTH = Base(OLD, OLD)


@pytest.mark.parametrize(
    ("local", "remote", "expected"),
    [
        (OLD, OLD, Nothing()),
        (OLD, NEW, Pull()),
        (OLD, ABSENT, DropLocal()),
        (NEW, OLD, Push()),
        (NEW, OTHER, Conflict("edited")),
        (NEW, Side(9, b"new"), Agree()),
        (NEW, ABSENT, Conflict("deleted there")),
        (ABSENT, OLD, DropRemote()),
        (ABSENT, NEW, Pull()),
        (ABSENT, ABSENT, Forget()),
    ],
)
def test_the_table(local: Side, remote: Side, expected: Action) -> None:
    assert plan(BOTH, local, remote) == expected


@pytest.mark.parametrize(
    ("local", "remote", "expected"),
    [
        (NEW, ABSENT, Push(new=True)),
        (ABSENT, NEW, Pull(new=True)),
        (NEW, Side(7, b"new"), Agree()),
        (NEW, OTHER, Conflict("met")),
        (ABSENT, ABSENT, Nothing()),
    ],
)
def test_without_a_base(local: Side, remote: Side, expected: Action) -> None:
    assert plan(None, local, remote) == expected


def test_a_touched_version_with_the_same_content_is_no_change() -> None:
    assert change(OLD, Side(5, b"old")) == "same"
    assert plan(BOTH, Side(5, b"old"), Side(8, b"old")) == Nothing()


def test_the_version_decides_first() -> None:
    """Two ways to read one version may come to two hashes: that is nobody's edit."""
    assert change(OLD, Side(1, b"read otherwise")) == "same"


def test_what_was_agreed_to_be_gone_is_not_dropped_again() -> None:
    assert plan(Base(OLD, ABSENT), OLD, ABSENT) == Nothing()
    assert plan(Base(ABSENT, OLD), ABSENT, OLD) == Nothing()
    assert plan(Base(ABSENT, ABSENT), ABSENT, ABSENT) == Nothing()


def test_what_somebody_deleted_there_is_never_made_again_by_itself() -> None:
    """Whatever becomes of ours afterwards, and however often: it takes a person."""
    for base in (BOTH, Base(OLD, ABSENT), Base(ABSENT, ABSENT)):
        assert plan(base, NEW, ABSENT) == Conflict("deleted there")


def test_a_side_that_held_records_and_lists_none_stops_the_run() -> None:
    bases = dict.fromkeys(range(3), BOTH)
    with pytest.raises(RemoteEmptied):
        list(plans(bases, dict.fromkeys(range(3), OLD), {}))
    with pytest.raises(RemoteEmptied):
        list(plans(bases, {}, dict.fromkeys(range(3), OLD)))
    allowed = dict(plans(bases, dict.fromkeys(range(3), OLD), {}, allow_empty=True))
    assert set(allowed.values()) == {DropLocal()}
    assert dict(plans({1: BOTH}, {1: OLD}, {})) == {1: DropLocal()}  # one of one may well be gone


class Memory:
    """A system in memory: records by id, versions, writes under idempotency keys, failures before and after a write."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[int, str]] = {}
        self.counter = 0
        self.keys: dict[str, Side] = {}  # what each write made
        self.failing = ""

    def side(self, id: str) -> Side:
        version, text = self.records.get(id, (None, None))
        return ABSENT if text is None else Side(version, text.encode())

    def edit(self, id: str, text: str | None) -> None:
        self.counter += 1
        if text is None:
            self.records.pop(id, None)
        else:
            self.records[id] = (self.counter, text)

    def push(self, id: str, text: str | None, expected: Side, key: str) -> Side:
        """A write as remotes take it; what it made, also when it is told again. The answer may be lost after it was
        done."""
        if self.failing == "before":
            raise ConnectionError
        if key not in self.keys:
            if self.side(id) != expected:
                raise ConnectionError  # stale
            self.edit(id, text)
            self.keys[key] = self.side(id)
        if self.failing == "after":
            raise ConnectionError
        return self.keys[key]


class TwoSystems(RuleBasedStateMachine):
    """Edits, deletions and failures at random; conflicts go to the local side, deletions there are never undone."""

    ids = some.sampled_from(["1", "2", "3"])
    texts = some.sampled_from(["a", "b", "c", "d"])

    def __init__(self) -> None:
        super().__init__()
        self.local, self.remote = Memory(), Memory()
        self.bases: dict[str, Base] = {}
        self.rounds: dict[str, int] = {}
        self.asked: set[str] = set()  # for a person: nothing is done to these
        self.deleted_there: set[str] = set()
        self.edits: dict[str, set[str]] = {}  # every text that somebody wrote

    @rule(id=ids, text=texts, local=some.booleans())
    def edit(self, id: str, text: str, local: bool) -> None:
        self.edits.setdefault(id, set()).add(text)
        if not local and id not in self.remote.records:
            self.deleted_there.discard(id)  # a person made it again
            self.asked.discard(id)
        (self.local if local else self.remote).edit(id, text)

    @rule(id=ids, local=some.booleans())
    def delete(self, id: str, local: bool) -> None:
        known = id in self.bases or any(key.startswith(f"{id} ") for key in self.remote.keys)
        if not local and id in self.remote.records and known:  # of what we never met nobody can know that it was there
            self.deleted_there.add(id)
        (self.local if local else self.remote).edit(id, None)

    @rule(broken=some.sampled_from([("local", "before"), ("remote", "before"), ("remote", "after")]))
    def broken_run(self, broken: tuple[str, str]) -> None:
        # Our own record and its base are written in one transaction: there is no "after" between the two.
        side, when = broken
        getattr(self, side).failing = when
        self.run()
        getattr(self, side).failing = ""

    @rule()
    def run(self) -> None:
        ids = {*self.bases, *self.local.records, *self.remote.records}
        locals_ = {id: self.local.side(id) for id in ids}
        remotes = {id: self.remote.side(id) for id in ids}
        for id, action in list(plans(self.bases, locals_, remotes, allow_empty=True)):
            try:
                self.apply(id, action)
            except ConnectionError:
                continue  # the base stays: the next plan finds it again

    def apply(self, id: str, action: Action) -> None:
        key = f"{id} {self.rounds.get(id, 0)} {type(action).__name__}"
        ours, theirs = self.local.side(id), self.remote.side(id)
        match action:
            case Push() | Conflict(kind="edited" | "met"):
                text = self.local.records[id][1]
                theirs = self.remote.push(id, text, theirs, f"{key} {text}")
            case Pull():
                text = self.remote.records[id][1]
                ours = self.local.push(id, text, ours, f"{key} {text}")
            case Conflict():
                self.asked.add(id)
                return
            case DropRemote():
                theirs = self.remote.push(id, None, theirs, key)
            case DropLocal():
                ours = self.local.push(id, None, ours, key)
            case Nothing():
                return
        self.bases[id] = Base(ours, theirs)
        self.rounds[id] = self.rounds.get(id, 0) + 1

    @invariant()
    def what_was_deleted_there_stays_deleted(self) -> None:
        assert not {id for id in self.deleted_there if id in self.remote.records}

    @invariant()
    def nothing_is_made_up(self) -> None:
        for system in (self.local, self.remote):
            for id, (_, text) in system.records.items():
                assert text in self.edits[id]

    @rule()
    def two_quiet_runs(self) -> None:
        before = {id: (self.local.side(id).hash, self.remote.side(id).hash) for id in self.edits}
        self.run()
        self.run()
        for id, (ours, theirs) in before.items():
            here, there = self.local.side(id).hash, self.remote.side(id).hash
            if id in self.asked and here is not None and there is None:
                continue  # an edit against a deletion: both stay as they are
            assert here == there, id
            if here is None:  # gone on both sides: then one of them was gone, and the other had no edit of its own
                assert None in (ours, theirs)
            else:
                assert here in (ours, theirs)
        snapshot = (dict(self.local.records), dict(self.remote.records), dict(self.bases))
        self.run()
        assert snapshot == (dict(self.local.records), dict(self.remote.records), dict(self.bases))


TwoSystems.TestCase.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTwoSystems: Any = TwoSystems.TestCase
