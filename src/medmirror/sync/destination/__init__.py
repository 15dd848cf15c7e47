"""The second half of a sync: the records that the mirror holds of an organisation, brought to a second practice system.

    what changed here -> what stands there -> plan, strategy, a person's word -> write -> base -> next

Each record goes this way by itself, and its base is written last, after its write, in a transaction of its own.
Whatever stops it, the same call goes on: what has a base is done, what has none is planned again, and what was written
without its base is known by its idempotency key, or by its content. docs/conflicts.md says what becomes of which
conflict.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import orjson
from sqlalchemy import Engine

from medmirror import remotes
from medmirror.clock import Clock
from medmirror.errors import UsageError
from medmirror.mapping import Mappers, mappers
from medmirror.remotes.base import Around, Kind, Remote
from medmirror.settings import Settings
from medmirror.sync.destination.bases import Books, Name
from medmirror.sync.destination.conflict import Policy, policy_of
from medmirror.sync.destination.counterparts import There
from medmirror.sync.destination.entity import Bringing, Poison
from medmirror.sync.destination.overlap import threshold_of
from medmirror.sync.destination.write import Pusher
from medmirror.sync.guards import around
from medmirror.sync.organizations import Organization, read_secret
from medmirror.sync.steps import Report

AroundOf = Callable[[Organization, Kind, float], Around]

ORDER = (
    "location", "practitioner", "patient", "coverage", "inventory_item", "appointment", "encounter", "prescription",
    "document",
)  # fmt: skip
"""The entities, referenced ones first."""
SETTINGS: Mapping[str, str] = {
    "remote": "the kind of remote: fhir, cliniko, sql",
    "settings": "where it is, as for an organisation's own remote",
    "secret": "where its key is found: env:NAME or file:/path",
    "name": "what its copies are remembered under; the kind of remote. Another system needs another name",
    "strategy": "prioritize_source, prioritize_destination, newest_wins, per_field or review",
    "fields": "for per_field: {field: source | destination | newest | both | review}, * for all others",
    "entities": "what is brought there: patient and appointment",
    "threshold_s": "appointments that overlap by more than so many seconds are a conflict: 60 (10 to 300)",
    "feeds": "{entity: feed there}, where the mappers have several",
    "pairs": "{feed here: {id here: id there, or feed/id}} of what is there already and is not brought (practitioners)",
    "mirrored": "whether this organisation's source of that name is this system: what deduplication joined is then one",
    "allow_empty": "go on although all copies of several records are gone",
}
_AT_ONCE = 100  # records that are read and planned before the first of them is written
_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class Options:
    """What an organisation says of its destination; see SETTINGS."""

    name: str
    kind: Kind
    policy: Policy
    entities: tuple[str, ...]
    threshold: float
    settings: Mapping[str, Any]
    secret: str | None
    feeds: Mapping[str, str]
    pairs: Mapping[str, Mapping[str, str]]
    mirrored: bool
    allow_empty: bool


def options_of(organization: Organization) -> Options:
    """The destination of *organization*. Raises UsageError, naming what is wrong."""
    said = organization.destination or {}
    if unknown := sorted(set(said) - set(SETTINGS)):
        raise UsageError(f"A destination has no setting {unknown[0]!r}; it has {', '.join(SETTINGS)}.")
    entities = said.get("entities") or ("patient", "appointment")
    if wrong := sorted(set(entities) - set(ORDER)):
        raise UsageError(f"There is no entity {wrong[0]!r}; there are {', '.join(ORDER)}.")
    try:
        threshold = threshold_of(said.get("threshold_s"))
    except ValueError as error:
        raise UsageError(f"The destination's {error}") from None
    kind = remotes.kind(str(said.get("remote")))
    return Options(
        name=str(said.get("name") or kind.name),
        kind=kind,
        policy=policy_of(said),
        entities=tuple(sorted(set(entities), key=ORDER.index)),
        threshold=threshold,
        settings=said.get("settings") or {},
        secret=said.get("secret"),
        feeds=said.get("feeds") or {},
        pairs=said.get("pairs") or {},
        mirrored=bool(said.get("mirrored", False)),
        allow_empty=bool(said.get("allow_empty", False)),
    )


def keep_in_step(
    engine: Engine,
    settings: Settings,
    organization: Organization,
    run_id: int,
    clock: Clock,
    around_of: AroundOf | None,
    report: Report,
    poison: Poison = lambda feed, source_id, error: None,
) -> Counter[str]:
    """Bring what the mirror holds of *organization* to its destination; return what became of the records.

    *engine* is the owner's; the organisation must be held (``hold``). Counts: pushed (of them dropped: told that it was
    deleted here; made again), agreed, kept, ignored, conflicts, queued_for_review, waiting (for what it refers to),
    poisoned, parted, forgotten, stale, lost (fields that the destination cannot hold).

    Raises what a remote raises, and RemoteEmptied; what was done until then stays done. *poison* is told of records
    that are refused for good: the others go on without them. Nothing is asked of the destination when nothing changed.
    """
    options = options_of(organization)
    books = Books(engine, organization.organization_id, organization.source, options.name, run_id)
    digest = _digest(organization, options)
    floor, safe = books.begin(digest)
    counts: Counter[str] = Counter()
    names = books.delta(options.entities, floor, _KEYS)
    if names:
        there = replace(
            organization,
            source=f"to {options.name}",
            remote=options.kind.name,
            settings=options.settings,
            secret=options.secret,
            windows=None,
        )
        surroundings = around_of(there, options.kind, 1.0) if around_of else around(engine, there, options.kind, clock)
        secret = read_secret(options.secret)
        with closing(options.kind.open(there.organization_id, options.settings, secret, surroundings)) as remote:
            bring = _Bring(remote, options, books, mappers(organization.mappings), clock, report, poison, counts)
            done: set[Name] = set()
            while new := [name for name in names if name not in done]:
                bring.run(new)
                done.update(new)
                names = books.delta(options.entities, floor, _KEYS + len(done)) if len(names) >= _KEYS else []
    if not counts["stale"]:
        books.finish(safe, digest, clock.now())
    return counts


def _digest(organization: Organization, options: Options) -> bytes:
    """Of what decides which records are looked at: with other settings all of them are."""
    said = {"entities": options.entities, "feeds": dict(options.feeds), "mappings": organization.mappings}
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).digest()


@dataclass(slots=True)
class _Bring:
    """One run: hands our records, page by page of one entity, to a ``Bringing`` of that entity."""

    remote: Remote
    options: Options
    books: Books
    mappers: Mappers
    clock: Clock
    report: Report
    poison: Poison
    counts: Counter[str]

    def run(self, names: Sequence[Name]) -> None:
        """Bring those records of ours, in this order."""
        made: dict[str, Bringing] = {}
        for some in _pages(names):
            for entity, entries in groupby(self.books.entries(some), key=lambda one: one.entity):
                if entity not in made:
                    made[entity] = self._bringing(entity)
                made[entity].page(list(entries))
        for one in made.values():
            one.finish()

    def _bringing(self, entity: str) -> Bringing:
        feed = self._feed(entity)
        mapper = self.mappers.of(self.remote.source, feed)
        if mapper is None or mapper.entity != entity:
            raise UsageError(f"Nothing maps {entity} to {feed} of {self.remote.source}; see `medmirror mapping show`.")
        there = There(
            self.remote, feed, entity, self.mappers, self.books, self.options.threshold, self.options.allow_empty
        )
        where = (self.books.organization_id, self.books.source, self.books.destination)
        pusher = Pusher(self.remote, feed, mapper, where)
        return Bringing(
            entity=entity,
            there=there,
            pusher=pusher,
            mapper=mapper,
            books=self.books,
            policy=self.options.policy,
            pairs=self._pairs(),
            twins_of=self.remote.source if self.options.mirrored else None,
            clock=self.clock,
            report=self.report,
            poison=self.poison,
            counts=self.counts,
        )

    def _pairs(self) -> dict[Name, Name]:
        made: dict[Name, Name] = {}
        for feed, some in self.options.pairs.items():
            for ours, theirs in some.items():
                there, _, id_ = str(theirs).rpartition("/")
                made[feed, ours] = (there or self._feed_like(feed), id_)
        return made

    def _feed_like(self, feed: str) -> str:
        mapper = self.mappers.of(self.books.source, feed)
        if mapper is None:
            raise UsageError(f"Nothing maps {feed}: name its records in the destination's pairs as feed/id.")
        return self._feed(mapper.entity)

    def _feed(self, entity: str) -> str:
        """The feed there that holds records of *entity*: the one that is set, or called so, or the first."""
        found = [one.feed for one in self.mappers.all() if one.source == self.remote.source and one.entity == entity]
        able = [feed for feed in found if feed in self.remote.capabilities.push] or found
        if entity in self.options.feeds:
            return self.options.feeds[entity]
        if not able:
            raise UsageError(f"{self.remote.source} has nothing that holds a {entity}; name other entities.")
        return next((feed for feed in able if feed.lower() == entity), able[0])


def _pages(names: Sequence[Name]) -> Iterator[Sequence[Name]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]
