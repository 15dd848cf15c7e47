"""Groups of records that are one person, from pairs that are. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

K = TypeVar("K", bound=Hashable)


def components(pairs: Iterable[tuple[K, K]]) -> list[set[K]]:
    """The connected components of the graph of *pairs*. Each has at least two members; no two share a member."""
    parent: dict[K, K] = {}

    def root(member: K) -> K:
        parent.setdefault(member, member)
        while parent[member] != member:
            parent[member] = parent[parent[member]]  # halves the way for the next one
            member = parent[member]
        return member

    for left, right in pairs:
        a, b = root(left), root(right)
        if a != b:
            parent[a] = b
    groups: defaultdict[K, set[K]] = defaultdict(set)
    for member in parent:
        groups[root(member)].add(member)
    return [group for group in groups.values() if len(group) > 1]


def canonical_ids(joined: Iterable[tuple[K, K]], own: Mapping[K, UUID]) -> dict[K, UUID]:
    """The canonical id of every record that *joined* pairs connect to another one: the smallest id of its group.

    *own* has the id that each record has by itself; a record in no pair keeps it and is not in the result. So the same
    pairs always give the same ids, whatever was joined before. A pair with a record that *own* lacks (it is gone) is
    left out.
    """
    living = ((left, right) for left, right in joined if left in own and right in own)
    smallest_ids: dict[K, UUID] = {}
    for group in components(living):
        smallest = min(own[key] for key in group)
        smallest_ids.update(dict.fromkeys(group, smallest))
    return smallest_ids


def violations(groups: Iterable[set[K]], apart: Iterable[tuple[K, K]]) -> list[tuple[K, K]]:
    """The pairs of *apart* (two people, by a person's decision) whose two records are in one group."""
    home: dict[Any, int] = {member: number for number, group in enumerate(groups) for member in group}
    return [(left, right) for left, right in apart if left in home and home[left] == home.get(right)]
