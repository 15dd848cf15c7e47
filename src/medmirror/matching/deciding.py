"""What becomes of all the pairs together: a group of records is joined by itself only if nothing in it contradicts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.matching.clusters import components, torn
from medmirror.matching.fields import JOIN_AT, REVIEW_AT
from medmirror.matching.judging import IDENTIFIER, JOINED, MODEL, REVIEW, USER, Verdict, evidence, judge, levels
from medmirror.matching.scoring import Scored, Scorer

MOST_IN_GROUP = 12  #: records that one person may have before somebody looks

Pair = tuple[int, int]  # record numbers, the smaller one first
GROUP = "their group contradicts itself"
BEFORE = "people said no; the records have changed since"


class Decision(NamedTuple):
    """What is to be written of a pair: joined or review, on what grade, and the evidence."""

    left: int
    right: int
    status: str
    grade: str
    probability: float
    weight: float
    evidence: dict[str, Any]


class Standing(NamedTuple):
    """What holds before anything is decided.

    *said*: pairs that people joined. *kept*: pairs that were joined before and are not compared now, with their grade.
    *apart*: pairs that people said no to, with the levels of that time.
    """

    said: Collection[Pair] = ()
    kept: Mapping[Pair, str] = {}
    apart: Mapping[Pair, Mapping[str, str]] = {}


class Thresholds(NamedTuple):
    """The probabilities from which a pair is joined, and from which people are asked."""

    join_at: float = JOIN_AT
    review_at: float = REVIEW_AT


class Doubt(NamedTuple):
    """*records* of groups that contradict themselves. In some of these, those with an identifier in common are a group
    without a contradiction: these are *spared*."""

    records: frozenset[int]
    spared: frozenset[int]

    def holds(self, pair: Pair, grade: str) -> bool:
        """Whether *pair* must wait for a person."""
        return pair[0] in self.records and not (grade == IDENTIFIER and pair[0] in self.spared)


def doubtful(scorer: Scorer, entity: str, thresholds: Thresholds, standing: Standing) -> Doubt:
    """Which groups contradict themselves, if all were joined that *scorer* has scored high enough.

    That is groups in which two records cannot be one person, or of which people said so, and groups that are too large.
    """
    edges: dict[Pair, str] = dict.fromkeys(standing.said, USER) | dict(standing.kept)
    for one in scorer.scored():
        verdict = judge(entity, one.compared, *thresholds)
        pair = one.left, one.right
        if verdict.status == JOINED and pair not in standing.apart:
            edges.setdefault(pair, verdict.grade)
    wrong = _wrong(scorer, components(edges), standing.apart)
    doubted = frozenset[int]().union(*wrong)
    sure = components(pair for pair, grade in edges.items() if grade != MODEL and pair[0] in doubted)
    still = frozenset[int]().union(*_wrong(scorer, sure, standing.apart))
    return Doubt(doubted, frozenset[int]().union(*sure) - still)


def _wrong(scorer: Scorer, groups: Sequence[set[int]], apart: Collection[Pair]) -> list[set[int]]:
    """Those of *groups* that contradict themselves."""
    large = [group for group in groups if len(group) > 2]  # a pair alone was judged as such
    small = [group for group in large if len(group) <= MOST_IN_GROUP]
    parted = {one for pair in torn(groups, apart) for one in pair}
    wrong = [group for group in large if len(group) > MOST_IN_GROUP]
    wrong += [small[place] for place in scorer.contradictory(small)]
    return wrong + [group for group in groups if group & parted]


def decide(scorer: Scorer, entity: str, thresholds: Thresholds, standing: Standing, doubt: Doubt) -> Iterator[Decision]:
    """The decisions on what *scorer* has scored, by record numbers; what *doubt* holds is not joined.

    A pair that people said no to is never joined, and it is proposed again only when its records compare otherwise now.
    """
    for one in scorer.scored():
        verdict = judge(entity, one.compared, *thresholds)
        if not verdict.status:
            continue
        if verdict.status == JOINED and doubt.holds((one.left, one.right), verdict.grade):
            verdict = Verdict(REVIEW, verdict.grade, (*verdict.held, GROUP))
        before = standing.apart.get((one.left, one.right))
        if before is not None:
            verdict = Verdict(REVIEW, verdict.grade, (*verdict.held, BEFORE))
        made = _decision(entity, one, verdict)
        if before is None or levels(made.evidence) != before:
            yield made


def _decision(entity: str, one: Scored, verdict: Verdict) -> Decision:
    deleted = [side for side, gone in (("left", one.left_gone), ("right", one.right_gone)) if gone]
    told = evidence(entity, one.compared, verdict.held, deleted)
    compared = one.compared
    return Decision(one.left, one.right, verdict.status, verdict.grade, compared.probability, compared.weight, told)
