"""Groups of records that are one person, from pairs that are. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

K = TypeVar("K", bound=Hashable)


def components(pairs: Iterable[tuple[K, K]]) -> list[set[K]]:
    """The sets of what *pairs* connect, each of two members at least; no two have a member in common."""
    parent: dict[K, K] = {}

    def root(one: K) -> K:
        parent.setdefault(one, one)
        while parent[one] != one:
            parent[one] = parent[parent[one]]  # halves the way for the next one
            one = parent[one]
        return one

    for left, right in pairs:
        a, b = root(left), root(right)
        if a != b:
            parent[a] = b
    found: defaultdict[K, set[K]] = defaultdict(set)
    for one in parent:
        found[root(one)].add(one)
    return [group for group in found.values() if len(group) > 1]


def canonical_ids(joined: Iterable[tuple[K, K]], own: Mapping[K, UUID]) -> dict[K, UUID]:
    """The canonical id of every record that *joined* pairs connect to another: the smallest of their own ids.

    Records that no pair names are not in it: theirs is their own. So whatever was joined before, the same pairs always
    give the same ids, and a pair that is taken out leaves no trace. Pairs with a record that *own* does not know (it is
    gone) connect nothing.
    """
    known = ((left, right) for left, right in joined if left in own and right in own)
    found: dict[K, UUID] = {}
    for group in components(known):
        smallest = min(own[one] for one in group)
        found.update(dict.fromkeys(group, smallest))
    return found


def torn(groups: Iterable[set[K]], apart: Iterable[tuple[K, K]]) -> list[tuple[K, K]]:
    """The pairs of *apart* (people said that they are not one) of which both are in one group."""
    home: dict[Any, int] = {one: number for number, group in enumerate(groups) for one in group}
    return [(left, right) for left, right in apart if left in home and home[left] == home.get(right)]
