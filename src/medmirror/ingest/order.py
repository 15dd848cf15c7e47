"""The order of two copies of a key: which of them is the newer one, whatever order they come in.

It is made of facts that the publisher states, and of the order of arrival where there are none, never of a digest:

1. *version*: the source's number for the moment that a copy is of, or for its place in a series of files.
2. *tie*: the source's own order of copies of one moment (FHIR's versionId). A deletion of the same moment comes last.
3. *place*: the order of arrival, by load, then by file, then by line. A corrected file counts, for it comes later.

A feed whose records come in a series of files and also alone (PubMed) has no number for the latter: their version is 0.
There *tie* is the day that a copy was revised, and decides between a copy of the series and one that stands in none; on
the same day the series counts. Within a load a deletion stands behind every copy of its number, for a list of
deletions ends its file.
"""

from __future__ import annotations

from typing import NamedTuple

_POSITIONS = 36  # bits for the items of one load: 68,000 million; the others hold 134 million loads

BEHIND = 1 << (_POSITIONS - 1)
"""Added to a place, it lies behind all others of its load."""


class Rank(NamedTuple):
    """What orders a copy."""

    version: int
    tie: int
    place: int


def place(load: int, item: int) -> int:
    """The place of the *item*-th item of the load (the run) of number *load* in the order of arrival."""
    return (load << _POSITIONS) + item


def newer(copy: Rank, other: Rank, *, series: bool) -> bool:
    """Whether *copy* is newer than *other*. The statement ``claim`` of load.sql decides in the same way.

    Parameters
    ----------
    copy, other
        The ranks of two copies of one key.
    series
        Whether the feed has copies that stand in no series of files (``Feed.revised``).
    """
    if not series:
        return copy > other
    if bool(copy.version) == bool(other.version):
        if copy.version:
            return (copy.version, copy.place) > (other.version, other.place)
        return (copy.tie, copy.place) > (other.tie, other.place)
    return (copy.tie, copy.version) > (other.tie, other.version)
