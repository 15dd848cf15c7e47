"""Versions of records whose time the clock showed twice: the order of arrival decides between them.

Which of the two hours of an autumn night a wall clock's time belongs to cannot be read from it. Such an item says only
the span that its true version lies in (``Item.spread``). Its version is then a place within that span: first by the
load (a later one comes later), within a load by the order of its files and of the rows in them. So versions order
records of the span among themselves, and all of them before and after other records as their times do.

A span of two hours has places for 214 loads with 33 million items each. Past that, later loads still win, and the
order within one of them is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from medmirror.ingest.dedup import Candidate
from medmirror.ingest.store import Known
from medmirror.model import Part

_ITEMS = 1 << 25  # places for the items of one load


def placed(candidate: Candidate, parts: Sequence[Part], facts: Known | None, run_id: int) -> Candidate:
    """*candidate* with the version that its place in the order of arrival gives it.

    Parameters
    ----------
    candidate : Candidate
        Its item, as the source gave it, has a spread.
    parts : sequence of Part
        Those of its chunk.
    facts : Known or None
        What is stored about its key. A version within the span tells the latest load that came with one.
    run_id : int
        The run under way. The content that is stored gets a place in it, too: an older copy that stands before it in
        the same file must lose whichever comes first.
    """
    item = candidate.item
    part = parts[candidate.part]
    load = 0
    if facts is not None and item.version <= facts.version < item.version + item.spread:
        load = (facts.version - item.version) // _ITEMS + (facts.run_id < run_id)
    place = load * _ITEMS + min(part.before + part.ordinal + item.ordinal, _ITEMS - 1)
    return candidate._replace(item=item._replace(version=item.version + min(place, item.spread - 1)))
