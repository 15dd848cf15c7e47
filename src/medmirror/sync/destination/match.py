"""The match of a record of ours with a record of the destination, and so the plan for it.

In this order: its copy; its twin by deduplication; an equal or similar record; a record at the same time. Identity
comes first: the same record is never an overlap, and the copy of a record overlaps with nothing, because its own
source has it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medmirror.sync.destination.bases import Entry, Name
from medmirror.sync.destination.conflict import Policy
from medmirror.sync.destination.counterparts import Counterparts, Overlaps
from medmirror.sync.destination.decide import Choice, Leave, Note, Question, Verdict, Write, decide_entry
from medmirror.sync.destination.pages import RemoteRecord
from medmirror.sync.destination.review import Resolution
from medmirror.sync.destination.translate import Projection, compared_fields, restrict


class Case(NamedTuple):
    """A record of ours with all that is needed to decide about it.

    *projection*: as the destination would show it (None: it was deleted); *resolutions*: decisions of people;
    *overlaps*: the records at its time there; *twin*: its match by deduplication; *utc*: now.
    """

    entry: Entry
    projection: Projection | None
    resolutions: Sequence[Resolution]
    overlaps: Overlaps
    twin: Name | None
    utc: str

    def choice(self, counterpart: RemoteRecord | None) -> Choice | None:
        """Return a person's choice for ours and *counterpart*, if both are still as that person saw them."""
        place = None if counterpart is None else (counterpart.feed, counterpart.id)
        hash_ = None if counterpart is None else counterpart.hash
        return next(
            (
                resolution.decision
                for resolution in self.resolutions
                if resolution.place == place and resolution.holds(self.entry.canonical_hash, hash_)
            ),
            None,
        )

    def open(self, records: Sequence[RemoteRecord]) -> list[RemoteRecord]:
        """Return those of *records* of which no person has said that they are another thing."""
        return [record for record in records if self.choice(record) != "apart"]


class Plan(NamedTuple):
    """A verdict on an entry, and further questions to a person."""

    entry: Entry
    verdict: Verdict
    questions: tuple[Question, ...] = ()


def match_case(case: Case, counterparts: Counterparts, policy: Policy, *, fresh: bool = False) -> Plan:
    """Return the plan for *case*. *fresh*: read its counterpart again first."""
    entry = case.entry
    if entry.remote_id is not None:
        return _with_copy(case, counterparts.get(entry.remote_id, fresh=fresh), policy)
    if case.projection is None or entry.based:
        return Plan(entry, decide_entry(entry, case.projection, None, policy, case.utc, case.choice(None)))
    return _same(case, case.projection, counterparts, policy, fresh) or _overlapping(case, counterparts, policy, fresh)


def _with_copy(case: Case, counterpart: RemoteRecord | None, policy: Policy) -> Plan:
    """Return the plan for an entry with a copy. An overlap with another entry there is a conflict of its own."""
    entry = case.entry
    verdict = decide_entry(entry, case.projection, counterpart, policy, case.utc, case.choice(counterpart))
    same_patient, same_practitioner = case.open(case.overlaps.patient), case.open(case.overlaps.practitioner)
    if not isinstance(verdict, Write) or not (same_patient or same_practitioner):
        return Plan(entry, verdict)
    if policy.strategy == "prioritize_destination":
        return Plan(entry, Leave("ignored", "ignored"))
    questions = (*map(_clash, same_practitioner), *map(_overlap, same_patient))
    if policy.strategy == "prioritize_source" and not same_practitioner:
        return Plan(entry, verdict, questions)
    return Plan(entry, questions[0], questions[1:])


def _same(case: Case, projection: Projection, counterparts: Counterparts, policy: Policy, fresh: bool) -> Plan | None:
    """Return the plan for an entry that may exist there already, under an unknown id; None: it does not."""
    if case.twin is not None and case.twin[0] == counterparts.feed:
        counterpart = counterparts.get(case.twin[1], fresh=fresh)
        if counterpart is not None:
            return Plan(
                case.entry,
                decide_entry(case.entry, projection, counterpart, policy, case.utc, case.choice(counterpart)),
            )
    for counterpart in case.open(counterparts.alike(projection)):
        choice = case.choice(counterpart)
        if choice is None and not _equal(projection, counterpart):
            why = "nobody's copy there has the same name and, of people, the same birthday"
            return Plan(case.entry, Question("same person", why, counterpart))
        return Plan(case.entry, decide_entry(case.entry, projection, counterpart, policy, case.utc, choice))
    return None


def _overlapping(case: Case, counterparts: Counterparts, policy: Policy, fresh: bool) -> Plan:
    """Return the plan for an entry that is new there, or claims the time of another record."""
    entry = case.entry
    same_patient, same_practitioner = case.open(case.overlaps.patient), case.open(case.overlaps.practitioner)
    if same_patient:
        counterpart = counterparts.get(same_patient[0].id, fresh=fresh)
        if counterpart is not None:
            verdict = decide_entry(
                entry, case.projection, counterpart, policy, case.utc, case.choice(counterpart), "overlap"
            )
            questions = (
                (*map(_overlap, same_patient[1:]), *map(_clash, same_practitioner))
                if isinstance(verdict, Write | Note)
                else ()
            )
            return Plan(entry, verdict, questions)
    if same_practitioner:
        if policy.strategy == "prioritize_destination":
            return Plan(entry, Leave("ignored", "ignored"))
        return Plan(entry, _clash(same_practitioner[0]), tuple(map(_clash, same_practitioner[1:])))
    return Plan(entry, decide_entry(entry, case.projection, None, policy, case.utc))


def _equal(projection: Projection, counterpart: RemoteRecord) -> bool:
    names = compared_fields(projection.record)
    return restrict(projection.record, names) == restrict(counterpart.record, names)


def _overlap(counterpart: RemoteRecord) -> Question:
    return Question("overlap", "it overlaps with an entry there of the same patient", counterpart)


def _clash(counterpart: RemoteRecord) -> Question:
    return Question(
        "clash", "it overlaps with an entry there of the same practitioner and another patient", counterpart
    )
