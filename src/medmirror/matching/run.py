"""Deduplicating whole organisations: read, compare, decide, write; one transaction an organisation and entity.

Each transaction holds lock 12347. Loads go on beside it: a record that they change meanwhile counts as changed the next
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
from medmirror.readers import scratch

DEFAULT = Thresholds()
BY = "medmirror dedup"
BUSY = "Another deduplication holds lock 12347; run the same command again when it is done."


class Tally(NamedTuple):
    """The counts of one organisation and entity: records, records compared anew, candidate pairs.

    *joined*, *review*, *rejected* and *undone* count the pairs of each status; *renamed* the records that got another
    canonical id.
    """

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
    """The outcome of a deduplication. *found* has a tally for each organisation and entity."""

    run_id: int
    status: str = "failed"  # done, failed, interrupted
    seconds: float = 0.0
    found: list[Tally] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return {**asdict(self), "found": [tally._asdict() for tally in self.found]}


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
    """Find the records that are the same person, in each organisation by itself. Running it again changes nothing.

    Raises LockRaceLost when another deduplication runs, UsageError for wrong thresholds or without splink.

    Parameters
    ----------
    engine
        An engine on the mirror, as the tables' owner.
    organizations
        The organisations to work on; None: all.
    entities
        The kinds of record: patient, practitioner.
    everything
        Compare all records anew, not only those that changed since they were compared last.
    thresholds
        The probabilities from which a pair is joined or put before a person.
    memory
        Bytes that DuckDB may take; None: half of the machine's.
    on_step
        Called with (organisation, entity) before each transaction.
    """
    if not 0 < thresholds.review_at <= thresholds.join_at < 1:
        raise UsageError("The thresholds must be probabilities, the one for review not above the one for joining.")
    scratch.sweep(scoring.FOLDERS)  # also when nothing is to be compared
    with engine.connect() as conn:
        names = store.organizations(conn, entities, organizations)
    scopes = [Scope(name, entity) for name in names for entity in entities]
    with running(engine, "dedup", {**thresholds._asdict(), "all": everything}) as result:
        for scope in scopes:
            on_step(*scope)
            work = _Work(scope, result.run_id, everything, thresholds, memory)
            result.found.append(with_dedup_lock(engine, work.do))
    return result


@contextmanager
def running(engine: Engine, command: str, settings: dict[str, Any]) -> Iterator[DedupResult]:
    """A run in the ledger, for as long as the block lasts."""
    with runs.record(engine, command, None, settings) as run:
        result = DedupResult(run.run_id)
        run.counts = lambda: {"found": [tally._asdict() for tally in result.found]}
        yield result
    result.status, result.seconds = run.status, run.seconds


def with_dedup_lock(engine: Engine, work: Callable[[Connection], Any]) -> Any:
    """Run *work* in one transaction that holds lock 12347; return what it returned. Raises LockRaceLost."""
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

    def do(self, conn: Connection) -> Tally:
        began = time.perf_counter()
        store.enter(conn, self.scope.organization)
        figures = store.figures(conn, self.scope)
        model = self._digest(figures)
        records, changed = store.begin_input(conn, self.scope, model, self.everything)
        pairs = 0
        if changed:
            with scoring.open_scorer(self.scope.entity, self.memory) as scorer:
                pairs = self._compare(conn, scorer, model, figures)
        else:  # pairs of records that are gone are withdrawn all the same
            store.write(conn, self.scope, {}, (), by=BY, run_id=self.run_id, model=model)
        renamed = store.settle(conn, self.scope)
        counts = store.tally(conn, self.scope)
        seconds = round(time.perf_counter() - began, 3)
        return Tally(
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
        decisions = decide(scorer, scope.entity, self.thresholds, standing, doubt)
        store.write(conn, scope, keys, decisions, by=BY, run_id=self.run_id, model=model)
        held = [pair for pair, grade in standing.kept.items() if doubt.holds(pair, grade)]
        store.hold(conn, scope, keys, held, by=BY, run_id=self.run_id)
        return pairs

    def _digest(self, figures: Figures | None) -> bytes:
        """16 bytes that change when records must be compared anew although none has changed."""
        limits = (
            scoring.SHARED_BY, scoring.MOST_IN_BLOCK, scoring.NAMESAKES, scoring.USUAL_RECORDS, scoring.BEARERS,
            scoring.FILLERS, scoring.NAMED, *self.thresholds,
        )  # fmt: skip
        parts = (RULES, FIELDS[self.scope.entity], limits, sorted((figures or {}).items()))
        return sha256(repr(parts).encode()).digest()[:16]
