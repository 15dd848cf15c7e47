"""What becomes of all the pairs together: a group of records is joined by itself only if nothing in it contradicts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from medmirror.matching.clusters import components, torn
from medmirror.matching.judging import JOINED, REVIEW, Verdict, evidence, judge, levels
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


def decide(
    scorer: Scorer,
    entity: str,
    join_at: float,
    review_at: float,
    *,
    together: Collection[Pair] = (),
    apart: Mapping[Pair, Mapping[str, str]] | None = None,
) -> Iterator[Decision]:
    """The decisions on what *scorer* has scored, by record numbers.

    *together* are pairs that people joined. *apart* are those that people said no to, with the levels of that time:
    such a pair is never joined, and it is proposed again only when its records compare otherwise now.
    """
    apart = apart or {}
    verdicts = ((pair, judge(entity, pair.compared, join_at, review_at)) for pair in scorer.scored())
    edges = [(one.left, one.right) for one, verdict in verdicts if verdict.status == JOINED]
    edges = [edge for edge in edges if edge not in apart]
    doubtful = _doubtful(scorer, [*edges, *together], apart)
    for one in scorer.scored():
        verdict = judge(entity, one.compared, join_at, review_at)
        if not verdict.status:
            continue
        if verdict.status == JOINED and one.left in doubtful:
            verdict = Verdict(REVIEW, verdict.grade, (*verdict.held, GROUP))
        before = apart.get((one.left, one.right))
        if before is not None:
            verdict = Verdict(REVIEW, verdict.grade, (*verdict.held, BEFORE))
        made = _decision(entity, one, verdict)
        if before is None or levels(made.evidence) != before:
            yield made


def _doubtful(scorer: Scorer, edges: Collection[Pair], apart: Collection[Pair]) -> set[int]:
    """The records whose groups contradict themselves."""
    groups = components(edges)
    large = [group for group in groups if len(group) > 2]  # a pair alone was judged as such
    small = [group for group in large if len(group) <= MOST_IN_GROUP]
    wrong = [group for group in large if len(group) > MOST_IN_GROUP]
    wrong += [small[place] for place in scorer.contradictory(small)]
    found = set().union(*wrong)
    found.update(one for pair in torn(groups, apart) for group in groups if pair[0] in group for one in group)
    return found


def _decision(entity: str, one: Scored, verdict: Verdict) -> Decision:
    deleted = [side for side, gone in (("left", one.left_gone), ("right", one.right_gone)) if gone]
    told = evidence(entity, one.compared, verdict.held, deleted)
    compared = one.compared
    return Decision(one.left, one.right, verdict.status, verdict.grade, compared.probability, compared.weight, told)
