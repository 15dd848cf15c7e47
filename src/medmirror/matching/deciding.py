"""Decisions on all scored pairs together: a group is joined without a person's word only if it has no contradiction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.matching.clusters import components, violations
from medmirror.matching.fields import JOIN_AT, REVIEW_AT
from medmirror.matching.judging import (
    IDENTIFIER,
    JOINED,
    MERGE,
    MODEL,
    REVIEW,
    USER,
    Verdict,
    evidence,
    judge,
    levels,
)
from medmirror.matching.scoring import Scored, Scorer

MOST_IN_GROUP = 12  #: records that one person may have before somebody looks

Pair = tuple[int, int]  # record numbers, the smaller one first
GROUP = "their group contradicts itself"
BEFORE = "people said no; the records have changed since"


class Decision(NamedTuple):
    """The decision on a pair of record numbers: *status* joined or review, its grade and the evidence."""

    left: int
    right: int
    status: str
    grade: str
    probability: float
    weight: float
    evidence: dict[str, Any]


class Standing(NamedTuple):
    """The decisions that hold already.

    *confirmed*: pairs that people joined. *kept*: pairs that were joined before and are not compared now, with their
    grade. *apart*: pairs that people rejected, with the levels of that time.
    """

    confirmed: Collection[Pair] = ()
    kept: Mapping[Pair, str] = {}
    apart: Mapping[Pair, Mapping[str, str]] = {}


class Thresholds(NamedTuple):
    """The probabilities from which a pair is joined, and from which people are asked."""

    join_at: float = JOIN_AT
    review_at: float = REVIEW_AT


class Doubt(NamedTuple):
    """The *records* of groups that contradict themselves.

    *spared* are those of them that still form a group without a contradiction when only common identifiers count.
    *merged* are those whose source has merged them, and people have said nothing against it.
    """

    records: frozenset[int]
    spared: frozenset[int]
    merged: frozenset[int] = frozenset()

    def holds(self, pair: Pair, grade: str) -> bool:
        """Whether *pair* must wait for a person."""
        spared = {MERGE: self.merged, IDENTIFIER: self.spared}.get(grade, frozenset())
        return pair[0] in self.records and pair[0] not in spared


def doubtful(scorer: Scorer, entity: str, thresholds: Thresholds, standing: Standing) -> Doubt:
    """The records of groups that would contradict themselves if all pairs with a high enough score were joined.

    A group contradicts itself when two of its records cannot be one person, when people rejected a pair of it, or when
    it is too large.
    """
    edges: dict[Pair, str] = dict.fromkeys(standing.confirmed, USER) | dict(standing.kept)
    for scored in scorer.scored():
        verdict = judge(entity, scored.compared, *thresholds)
        pair = scored.left, scored.right
        if verdict.status == JOINED and pair not in standing.apart:
            edges.setdefault(pair, verdict.grade)
    merges = components(pair for pair, grade in edges.items() if grade == MERGE)
    parted = {record for pair in violations(merges, standing.apart) for record in pair}
    merged = frozenset[int]().union(*(group for group in merges if not group & parted))
    names = {record: min(group) for group in merges for record in group}
    wrong = _wrong(scorer, components(edges), standing.apart, names)
    doubted = frozenset[int]().union(*wrong)
    sure = components(pair for pair, grade in edges.items() if grade != MODEL and pair[0] in doubted)
    still = frozenset[int]().union(*_wrong(scorer, sure, standing.apart, names))
    return Doubt(doubted, frozenset[int]().union(*sure) - still, merged)


def _wrong(
    scorer: Scorer, groups: Sequence[set[int]], apart: Collection[Pair], merged: Mapping[int, int]
) -> list[set[int]]:
    """The groups of *groups* that contradict themselves. Records of one name in *merged* count as one."""
    sizes = {id(group): len({merged.get(record, record) for record in group}) for group in groups if len(group) > 2}
    large = [group for group in groups if sizes.get(id(group), 0) > 1]  # a pair alone was judged as such
    small = [group for group in large if sizes[id(group)] <= MOST_IN_GROUP]
    parted = {record for pair in violations(groups, apart) for record in pair}
    wrong = [group for group in large if sizes[id(group)] > MOST_IN_GROUP]
    wrong += [small[place] for place in scorer.contradictory(small, merged)]
    return wrong + [group for group in groups if group & parted]


def decide(scorer: Scorer, entity: str, thresholds: Thresholds, standing: Standing, doubt: Doubt) -> Iterator[Decision]:
    """The decisions on the pairs that *scorer* has scored, by record numbers. A pair in *doubt* is not joined.

    A pair that people rejected is never joined. It is proposed again only when its records now compare differently.
    """
    for scored in scorer.scored():
        verdict = judge(entity, scored.compared, *thresholds)
        if not verdict.status:
            continue
        if verdict.status == JOINED and doubt.holds((scored.left, scored.right), verdict.grade):
            verdict = Verdict(REVIEW, verdict.grade, (*verdict.held, GROUP))
        before = standing.apart.get((scored.left, scored.right))
        if before is not None:
            verdict = Verdict(REVIEW, verdict.grade, (*verdict.held, BEFORE))
        decision = _decision(entity, scored, verdict)
        if before is None or _differs(levels(decision.evidence), before):
            yield decision


def _differs(now: Mapping[str, str], before: Mapping[str, str]) -> bool:
    """Whether a field is on another level than *before*. A field that was not compared then tells nothing."""
    return any(now.get(field, level) != level for field, level in before.items())


def _decision(entity: str, scored: Scored, verdict: Verdict) -> Decision:
    deleted = [side for side, gone in (("left", scored.left_gone), ("right", scored.right_gone)) if gone]
    grounds = evidence(entity, scored.compared, verdict.held, deleted)
    compared = scored.compared
    grade = IDENTIFIER if verdict.grade == MERGE else verdict.grade
    return Decision(scored.left, scored.right, verdict.status, grade, compared.probability, compared.weight, grounds)
