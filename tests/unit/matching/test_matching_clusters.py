"""Groups and canonical ids follow from the joined pairs and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from medmirror.matching.clusters import canonical_ids, components, violations

_MOST = 12
pairs = st.lists(st.tuples(st.integers(0, _MOST), st.integers(0, _MOST)).filter(lambda p: p[0] != p[1]), max_size=25)
OWN = {one: UUID(int=(one * 7919) % 101 + 1) for one in range(_MOST + 1)}


def reachable(one: int, joined: Sequence[tuple[int, int]]) -> set[int]:
    """What *one* is connected to, found the slow way."""
    found, before = {one}, set[int]()
    while found != before:
        before = set(found)
        for left, right in joined:
            if {left, right} & found:
                found |= {left, right}
    return found


@given(pairs)
def test_groups_are_what_pairs_connect(joined: list[tuple[int, int]]) -> None:
    groups = components(joined)
    assert sorted(one for group in groups for one in group) == sorted({one for pair in joined for one in pair})
    for group in groups:
        for one in group:
            assert reachable(one, joined) == group


@given(pairs)
def test_all_of_a_group_have_the_smallest_own_id(joined: list[tuple[int, int]]) -> None:
    found = canonical_ids(joined, OWN)
    for one in {one for pair in joined for one in pair}:
        assert found[one] == min(OWN[other] for other in reachable(one, joined))


@given(pairs, st.randoms())
def test_ids_do_not_depend_on_the_order_of_joining(joined: list[tuple[int, int]], random: object) -> None:
    other = [(right, left) for left, right in joined]
    random.shuffle(other)  # type: ignore[attr-defined]
    assert canonical_ids(other, OWN) == canonical_ids(joined, OWN)


@given(pairs, st.integers(0, 24))
def test_a_pair_that_is_taken_out_leaves_no_trace(joined: list[tuple[int, int]], place: int) -> None:
    rest = joined[:place] + joined[place + 1 :]
    for one, found in canonical_ids(rest, OWN).items():
        assert found == min(OWN[other] for other in reachable(one, rest))
    assert set(canonical_ids(rest, OWN)) == {one for pair in rest for one in pair}


def test_parting_the_middle_of_a_chain_leaves_two_groups() -> None:
    chain = [(1, 2), (2, 3), (3, 4)]
    assert len(set(canonical_ids(chain, OWN).values())) == 1
    parted = canonical_ids([(1, 2), (3, 4)], OWN)
    assert parted[1] == parted[2]
    assert parted[3] == parted[4]
    assert parted[1] != parted[3]


def test_a_record_that_is_gone_connects_nothing() -> None:
    own = {one: OWN[one] for one in (1, 3)}
    assert canonical_ids([(1, 2), (2, 3)], own) == {}


def test_pairs_that_people_parted_are_found_within_a_group() -> None:
    groups = components([(1, 2), (2, 3), (7, 8)])
    assert violations(groups, [(1, 3), (1, 7), (9, 10), (8, 11)]) == [(1, 3)]
