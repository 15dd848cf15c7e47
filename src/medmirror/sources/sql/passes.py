"""A pass over a practice system's database: one origin a table, all read in one snapshot; and whether it was whole.

When the connection is lost, the table's origin ends with the rows that had come, and what is left of the table becomes
an origin of its own, read over a new connection in a later snapshot. So every fact that a certificate needs is known
when an origin begins and stands in its Context, in the ledger: how many rows there are, which part of the table this
is, whether it is of one moment. A pass that dies leaves parts whose rows do not add up.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, BinaryIO, NamedTuple, NoReturn, cast

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from medmirror.errors import DatabaseLost, SourceError
from medmirror.mapping import columns
from medmirror.model import Certificate, Witness
from medmirror.readers.database import errors, session
from medmirror.readers.database.rows import Rows
from medmirror.readers.database.session import Snapshot
from medmirror.readers.database.tables import count, look
from medmirror.sources.base import Origin
from medmirror.sources.sql.tables import Section

_log = logging.getLogger(__name__)

_TRIES = 6  # to connect again, with waits of 1, 2, 4 ... seconds at most
_LOSSES = 20  # connections lost within one table, without a single row between two of them


class _Reading(NamedTuple):
    """One part of a table on its way."""

    origin: Origin
    streams: list[Rows]  # those that were opened


def origins(
    engine: Engine, sections: Sequence[Section], sleep: Callable[[float], None] = time.sleep
) -> Generator[Origin]:
    """The tables of *sections*, each to be read to its end before the next is asked for.

    A table that cannot be read raises SourceError when it is opened; the others are still read. Raises DatabaseLost
    when the database cannot be reached at all.
    """
    snapshot = session.begin(engine)
    try:
        for section in sections:
            part, idle, last = 1, 0, None
            while True:
                reading = _part(engine, snapshot, section, part, last)
                if isinstance(reading, _Reading):
                    yield reading.origin
                    stream = reading.streams[-1] if reading.streams else None
                    if stream is not None and stream.stopped:
                        snapshot = _again(engine, sleep)
                    if stream is None or not stream.lost:
                        break
                    idle = 0 if stream.count else idle + 1
                    part, last = part + 1, stream.last
                else:
                    idle += 1
                _log.warning("the connection to %s was lost at table %s", session.shown(engine), section.table.shown)
                if idle > _LOSSES:
                    raise DatabaseLost("", database=session.shown(engine), table=section.table.shown)
                session.end(snapshot.connection)
                snapshot = _again(engine, sleep)
    finally:
        session.end(snapshot.connection)
        engine.dispose()


def _again(engine: Engine, sleep: Callable[[float], None]) -> Snapshot:
    for attempt in range(_TRIES):
        try:
            return session.begin(engine)
        except DatabaseLost:
            if attempt == _TRIES - 1:
                raise
            sleep(random.uniform(0, 2**attempt))
    raise AssertionError


def _part(
    engine: Engine, snapshot: Snapshot, section: Section, part: int, last: tuple[Any, ...] | None
) -> _Reading | None:
    """The part of a table behind *last*, as an origin; None when the connection was lost while it was opened."""
    name = f"{session.shown(engine)}/{section.table.shown}" + (f" (part {part})" if part > 1 else "")
    facts = {**section.facts(), "part": part, "goes_on": int(last is not None), "read_at": snapshot.read_at}
    streams: list[Rows] = []
    try:
        plan = look(snapshot, section.table)
        missing = columns.lacking("sql", section.kind, plan.names, section.texts)
        columns.refuse(section.kind, missing, table=section.table.shown)
        expected = count(snapshot, plan)
    except (DBAPIError, OSError, SourceError) as error:
        if errors.is_lost(error):
            return None
        refusal = error if isinstance(error, SourceError) else errors.refusal(error, section.table.shown)

        def refuse() -> NoReturn:
            raise refusal

        return _Reading(Origin(name, os.urandom(32), {**facts, "expected": -1, "apart": ""}, refuse), streams)

    def begin() -> BinaryIO:
        streams.append(Rows(snapshot, plan, last))
        return cast(BinaryIO, streams[-1])

    context = {**facts, "expected": expected, "apart": snapshot.apart or plan.apart}
    return _Reading(Origin(name, os.urandom(32), context, begin), streams)


def certify(witnesses: Sequence[Witness]) -> list[Certificate]:
    """For each kind of record, whether all its rows were read, in one snapshot, and none was rejected."""
    kinds: dict[str, list[Witness]] = {}
    for witness in witnesses:
        if "kind" in witness.context:
            kinds.setdefault(str(witness.context["kind"]), []).append(witness)
    return [_certificate(kind, parts) for kind, parts in kinds.items()]


def _certificate(kind: str, parts: Sequence[Witness]) -> Certificate:
    parts = sorted(parts, key=lambda part: part.context["part"])
    begin = max(number for number, part in enumerate(parts) if not part.context["goes_on"] or not number)
    seen = sum(part.read for part in parts[begin:])  # what was read before is read again
    last = parts[-1].context
    expected = int(last["expected"]) if int(last["expected"]) >= 0 else None
    rejected = sum(part.rejected for part in parts)
    reasons = (
        (
            "The table could not be read" + (" to its end." if seen else "."),
            any(part.status == "refused" for part in parts),
        ),
        ("The reading did not come to its end.", any(part.status == "open" for part in parts)),
        (f"{seen} rows were read of {expected}.", expected is not None and seen != expected),
        (f"{rejected} records were rejected.", rejected > 0),
        ("The connection was lost, and the rest read in a later snapshot.", len(parts) > 1),
        (f"It is not of one moment: {last['apart']}.", bool(last["apart"])),
        ("The mapping leaves rows out (where).", bool(last["narrowed"])),
    )
    held_reasons = tuple(reason for reason, holds in reasons if holds)
    return Certificate((kind,), not held_reasons, expected, seen, held_reasons)
