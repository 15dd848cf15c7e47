"""Which record of the destination one of ours has to do with, and so what is to be done about it.

In this order: its copy; what deduplication says is the same; what says the same, or looks like the same; what claims
the same time. Identity comes first: what is known to be the same record is never an overlap, and what is somebody's
copy overlaps with nothing, for its own source has it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medmirror.sync.destination.bases import Entry, Name
from medmirror.sync.destination.conflict import Policy
from medmirror.sync.destination.counterparts import Meets, There
from medmirror.sync.destination.decide import Ask, Leave, Note, Verdict, Word, Write, weigh
from medmirror.sync.destination.pages import Theirs
from medmirror.sync.destination.review import Said
from medmirror.sync.destination.translate import Projected, restrict, shared


class Case(NamedTuple):
    """One of our records with all that is known of it: as the destination would show it (None: it was deleted), what
    people said, what it meets there, and what deduplication found."""

    one: Entry
    ours: Projected | None
    said: Sequence[Said]
    meets: Meets
    twin: Name | None
    utc: str

    def word(self, theirs: Theirs | None) -> Word | None:
        """What a person said of ours and *theirs*, if both are still what that person saw."""
        place = None if theirs is None else (theirs.feed, theirs.id)
        hash_ = None if theirs is None else theirs.hash
        return next(
            (said.decision for said in self.said if said.place == place and said.holds(self.one.canonical_hash, hash_)),
            None,
        )

    def open(self, some: Sequence[Theirs]) -> list[Theirs]:
        """Those of *some* of which nobody has said that they are another thing."""
        return [theirs for theirs in some if self.word(theirs) != "apart"]


class Planned(NamedTuple):
    """A verdict on one of ours, and what a person has to be asked beside."""

    one: Entry
    verdict: Verdict
    asks: tuple[Ask, ...] = ()


def judge(case: Case, there: There, policy: Policy, *, fresh: bool = False) -> Planned:
    """What is to be done about *case*. *fresh*: its counterpart is read again first."""
    one = case.one
    if one.remote_id is not None:
        return _with_copy(case, there.get(one.remote_id, fresh=fresh), policy)
    if case.ours is None or one.based:
        return Planned(one, weigh(one, case.ours, None, policy, case.utc, case.word(None)))
    return _same(case, case.ours, there, policy, fresh) or _overlapping(case, there, policy, fresh)


def _with_copy(case: Case, theirs: Theirs | None, policy: Policy) -> Planned:
    """One that has a copy. Where it has come to overlap with another entry there, that is a conflict of its own."""
    one = case.one
    verdict = weigh(one, case.ours, theirs, policy, case.utc, case.word(theirs))
    own, others = case.open(case.meets.patient), case.open(case.meets.others)
    if not isinstance(verdict, Write) or not (own or others):
        return Planned(one, verdict)
    if policy.strategy == "prioritize_destination":
        return Planned(one, Leave("ignored", "ignored"))
    asks = (*map(_clash, others), *map(_overlap, own))
    if policy.strategy == "prioritize_source" and not others:
        return Planned(one, verdict, asks)
    return Planned(one, asks[0], asks[1:])


def _same(case: Case, ours: Projected, there: There, policy: Policy, fresh: bool) -> Planned | None:
    """One that may be there already, under an id that nobody has told us yet."""
    if case.twin is not None and case.twin[0] == there.feed:
        theirs = there.get(case.twin[1], fresh=fresh)
        if theirs is not None:
            return Planned(case.one, weigh(case.one, ours, theirs, policy, case.utc, case.word(theirs)))
    for theirs in case.open(there.alike(ours)):
        word = case.word(theirs)
        if word is None and not _equal(ours, theirs):
            why = "nobody's copy there has the same name and, of people, the same birthday"
            return Planned(case.one, Ask("same person", why, theirs))
        return Planned(case.one, weigh(case.one, ours, theirs, policy, case.utc, word))
    return None


def _overlapping(case: Case, there: There, policy: Policy, fresh: bool) -> Planned:
    """One that is new there, or claims the time of something else."""
    one = case.one
    own, others = case.open(case.meets.patient), case.open(case.meets.others)
    if own:
        theirs = there.get(own[0].id, fresh=fresh)
        if theirs is not None:
            verdict = weigh(one, case.ours, theirs, policy, case.utc, case.word(theirs), "overlap")
            asks = (*map(_overlap, own[1:]), *map(_clash, others)) if isinstance(verdict, Write | Note) else ()
            return Planned(one, verdict, asks)
    if others:
        if policy.strategy == "prioritize_destination":
            return Planned(one, Leave("ignored", "ignored"))
        return Planned(one, _clash(others[0]), tuple(map(_clash, others[1:])))
    return Planned(one, weigh(one, case.ours, None, policy, case.utc))


def _equal(ours: Projected, theirs: Theirs) -> bool:
    names = shared(ours.record)
    return restrict(ours.record, names) == restrict(theirs.record, names)


def _overlap(theirs: Theirs) -> Ask:
    return Ask("overlap", "it overlaps with an entry there of the same patient", theirs)


def _clash(theirs: Theirs) -> Ask:
    return Ask("clash", "it overlaps with an entry there of the same practitioner and another patient", theirs)
