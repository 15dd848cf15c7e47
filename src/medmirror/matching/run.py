"""Deduplicating whole organisations: read, compare, decide, write; one transaction an organisation and entity.

Each holds lock 12347 alone. Loads go on beside it: a record that they change meanwhile is told as changed the next
time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from medmirror.db import locks, retry, runs
from medmirror.errors import LockRaceLost, UsageError
from medmirror.matching import scoring, store
from medmirror.matching.deciding import Thresholds, decide, doubtful
from medmirror.matching.fields import FIELDS
from medmirror.matching.judging import RULES
from medmirror.matching.scoring import Figures
from medmirror.matching.store import Scope

DEFAULT = Thresholds()
BY = "medmirror dedup"
BUSY = "Another deduplication holds lock 12347; run the same command again when it is done."


class Found(NamedTuple):
    """What was found in one organisation: records there, records compared anew, candidate pairs; then how many pairs of
    each status there are, and how many records got another canonical id."""

    organization: str
    entity: str
    records: int
    changed: int
    pairs: int
    joined: int
    review: int
    rejected: int
    undone: int
    renamed: int
    seconds: float


@dataclass(slots=True)
class DedupResult:
    """What a deduplication did."""

    run_id: int
    status: str = "failed"  # done, failed, interrupted
    seconds: float = 0.0
    found: list[Found] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return {**asdict(self), "found": [one._asdict() for one in self.found]}


def deduplicate(
    engine: Engine,
    *,
    organizations: Sequence[str] | None = None,
    entities: Sequence[str] = tuple(FIELDS),
    everything: bool = False,
    thresholds: Thresholds = DEFAULT,
    memory: int | None = None,
    on_step: Callable[[str, str], None] = lambda organization, entity: None,
) -> DedupResult:
    """Find the records of *entities* that are the same person, in each of *organizations* (None: all) by itself.

    Only records that have changed since they were compared last are compared again, with all others; *everything*:
    all. Running it again changes nothing. Raises LockRaceLost when another one is at it, UsageError without splink.
    """
    if not 0 < thresholds.review_at <= thresholds.join_at < 1:
        raise UsageError("The thresholds must be probabilities, the one for review not above the one for joining.")
    with engine.connect() as conn:
        places = [Scope(one, e) for one in store.organizations(conn, entities, organizations) for e in entities]
    with running(engine, "dedup", {**thresholds._asdict(), "all": everything}) as result:
        for scope in places:
            on_step(*scope)
            work = _Work(scope, result.run_id, everything, thresholds, memory)
            result.found.append(alone(engine, work.do))
    return result


@contextmanager
def running(engine: Engine, command: str, settings: dict[str, Any]) -> Iterator[DedupResult]:
    """A run in the ledger, for as long as the block lasts."""
    with runs.record(engine, command, None, settings) as run:
        result = DedupResult(run.run_id)
        run.counts = lambda: {"found": [found._asdict() for found in result.found]}
        yield result
    result.status, result.seconds = run.status, run.seconds


def alone(engine: Engine, work: Callable[[Connection], Any]) -> Any:
    """What *work* returns, done in a transaction that holds lock 12347. Raises LockRaceLost."""
    try:
        return retry.retry_with_advisory_lock(engine, locks.DEDUPLICATION, work, attempts=8)
    except LockRaceLost as error:
        raise LockRaceLost(BUSY, **error.context) from None


@dataclass(frozen=True, slots=True)
class _Work:
    scope: Scope
    run_id: int
    everything: bool
    thresholds: Thresholds
    memory: int | None

    def do(self, conn: Connection) -> Found:
        began = time.perf_counter()
        store.enter(conn, self.scope.organization)
        figures = store.figures(conn, self.scope)
        model = self._digest(figures)
        records, changed = store.begin_input(conn, self.scope, model, self.everything)
        pairs = 0
        if changed:
            with scoring.opened(self.scope.entity, self.memory) as scorer:
                pairs = self._compare(conn, scorer, model, figures)
        else:  # what has gone is withdrawn all the same
            store.write(conn, self.scope, {}, (), by=BY, run_id=self.run_id, model=model)
        renamed = store.settle(conn, self.scope)
        counts = store.tally(conn, self.scope)
        seconds = round(time.perf_counter() - began, 3)
        return Found(
            self.scope.organization,
            self.scope.entity,
            records,
            changed,
            pairs,
            counts.get("joined", 0),
            counts.get("review", 0),
            counts.get("rejected", 0),
            counts.get("undone", 0),
            renamed,
            seconds,
        )

    def _compare(self, conn: Connection, scorer: scoring.Scorer, model: bytes, figures: Figures | None) -> int:
        scope = self.scope
        scorer.take(store.read(conn, scope.entity))
        pairs = scorer.score(self.thresholds.review_at, figures)
        keys = scorer.keys()
        standing = store.standing(conn, scope, keys)
        doubt = doubtful(scorer, scope.entity, self.thresholds, standing)
        made = decide(scorer, scope.entity, self.thresholds, standing, doubt)
        store.write(conn, scope, keys, made, by=BY, run_id=self.run_id, model=model)
        held = [pair for pair, grade in standing.kept.items() if doubt.holds(pair, grade)]
        store.hold(conn, scope, keys, held, by=BY, run_id=self.run_id)
        return pairs

    def _digest(self, figures: Figures | None) -> bytes:
        """16 bytes that change when records must be compared anew although none has changed."""
        limits = (scoring.SHARED_BY, scoring.MOST_IN_BLOCK, scoring.NAMESAKES, scoring.USUAL_RECORDS, *self.thresholds)
        parts = (RULES, FIELDS[self.scope.entity], limits, sorted((figures or {}).items()))
        return sha256(repr(parts).encode()).digest()[:16]
