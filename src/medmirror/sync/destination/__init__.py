"""The second half of a sync: the organisation's records in the mirror are brought to a second practice system.

    changes here -> their counterparts there -> plan, strategy, a person's choice -> write -> base -> next

Each record goes this way by itself, and its base is written last, after its write, in a transaction of its own. After
any interruption the same call goes on: a record with a base is done, a record without one is planned again, and a
write whose base is missing is recognised by its idempotency key, or by its content. docs/conflicts.md says how each
kind of conflict is settled.
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
from medmirror.sync.access import around
from medmirror.sync.destination.bases import Bases, Name
from medmirror.sync.destination.conflict import Policy, policy_of
from medmirror.sync.destination.counterparts import Counterparts
from medmirror.sync.destination.entity import EntityPush, Poison
from medmirror.sync.destination.overlap import threshold_of
from medmirror.sync.destination.write import Writer
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
    """The settings of an organisation's destination; see SETTINGS."""

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
    """Return the destination of *organization*. Raises UsageError, naming the wrong setting."""
    configured = organization.destination or {}
    if unknown := sorted(set(configured) - set(SETTINGS)):
        raise UsageError(f"A destination has no setting {unknown[0]!r}; it has {', '.join(SETTINGS)}.")
    entities = configured.get("entities") or ("patient", "appointment")
    if wrong := sorted(set(entities) - set(ORDER)):
        raise UsageError(f"There is no entity {wrong[0]!r}; there are {', '.join(ORDER)}.")
    try:
        threshold = threshold_of(configured.get("threshold_s"))
    except ValueError as error:
        raise UsageError(f"The destination's {error}") from None
    kind = remotes.kind(str(configured.get("remote")))
    return Options(
        name=str(configured.get("name") or kind.name),
        kind=kind,
        policy=policy_of(configured),
        entities=tuple(sorted(set(entities), key=ORDER.index)),
        threshold=threshold,
        settings=configured.get("settings") or {},
        secret=configured.get("secret"),
        feeds=configured.get("feeds") or {},
        pairs=configured.get("pairs") or {},
        mirrored=bool(configured.get("mirrored", False)),
        allow_empty=bool(configured.get("allow_empty", False)),
    )


def keep_in_step(
    engine: Engine,
    organization: Organization,
    run_id: int,
    clock: Clock,
    around_of: AroundOf | None,
    report: Report,
    poison: Poison = lambda feed, source_id, error: None,
) -> Counter[str]:
    """Bring the records of *organization* in the mirror to its destination; return the counts.

    *engine* is the owner's; the organisation must be held (``hold``). Counts: pushed (of them dropped: marked as
    deleted; made again), agreed, kept, ignored, conflicts, queued_for_review, waiting (for a referenced record),
    poisoned, parted, forgotten, stale, lost (fields that the destination cannot hold).

    *poison* is called for records that are refused for good; the others go on without them. The destination is not
    asked when nothing changed. Raises every error of a remote, and RemoteEmptied; records that were done until then
    stay done.
    """
    options = options_of(organization)
    bases = Bases(engine, organization.organization_id, organization.source, options.name, run_id)
    digest = _digest(organization, options)
    floor, safe = bases.begin(digest)
    counts: Counter[str] = Counter()
    names = bases.delta(options.entities, floor, _KEYS)
    if names:
        target = replace(
            organization,
            source=f"to {options.name}",
            remote=options.kind.name,
            settings=options.settings,
            secret=options.secret,
            windows=None,
        )
        surroundings = (
            around_of(target, options.kind, 1.0) if around_of else around(engine, target, options.kind, clock)
        )
        secret = read_secret(options.secret)
        with closing(options.kind.open(target.organization_id, options.settings, secret, surroundings)) as remote:
            run = _Run(remote, options, bases, mappers(organization.mappings), clock, report, poison, counts)
            looked_at: set[Name] = set()
            while pending := [name for name in names if name not in looked_at]:
                run.run(pending)
                looked_at.update(pending)
                names = bases.delta(options.entities, floor, _KEYS + len(looked_at)) if len(names) >= _KEYS else []
    if not counts["stale"]:
        bases.finish(safe, digest, clock.now())
    return counts


def _digest(organization: Organization, options: Options) -> bytes:
    """Return a digest of the settings that decide which records are looked at: other settings make it look at all of
    them.
    """
    choices = {"entities": options.entities, "feeds": dict(options.feeds), "mappings": organization.mappings}
    return hashlib.sha256(orjson.dumps(choices, option=orjson.OPT_SORT_KEYS)).digest()


@dataclass(slots=True)
class _Run:
    """A run: it hands our records, page by page of one entity, to an ``EntityPush`` of that entity."""

    remote: Remote
    options: Options
    bases: Bases
    mappers: Mappers
    clock: Clock
    report: Report
    poison: Poison
    counts: Counter[str]

    def run(self, names: Sequence[Name]) -> None:
        """Bring those records of ours, in this order."""
        pushes: dict[str, EntityPush] = {}
        for page in _pages(names):
            for entity, entries in groupby(self.bases.entries(page), key=lambda entry: entry.entity):
                if entity not in pushes:
                    pushes[entity] = self._push(entity)
                pushes[entity].page(list(entries))
        for push in pushes.values():
            push.finish()

    def _push(self, entity: str) -> EntityPush:
        feed = self._feed(entity)
        mapper = self.mappers.of(self.remote.source, feed)
        if mapper is None or mapper.entity != entity:
            raise UsageError(f"Nothing maps {entity} to {feed} of {self.remote.source}; see `medmirror mapping show`.")
        counterparts = Counterparts(
            self.remote, feed, entity, self.mappers, self.bases, self.options.threshold, self.options.allow_empty
        )
        key = (self.bases.organization_id, self.bases.source, self.bases.destination)
        writer = Writer(self.remote, feed, mapper, key)
        return EntityPush(
            entity=entity,
            counterparts=counterparts,
            writer=writer,
            mapper=mapper,
            bases=self.bases,
            policy=self.options.policy,
            pairs=self._pairs(),
            twins_of=self.remote.source if self.options.mirrored else None,
            clock=self.clock,
            report=self.report,
            poison=self.poison,
            counts=self.counts,
        )

    def _pairs(self) -> dict[Name, Name]:
        pairs: dict[Name, Name] = {}
        for feed, ids in self.options.pairs.items():
            for local_id, remote_id in ids.items():
                remote_feed, _, id_ = str(remote_id).rpartition("/")
                pairs[feed, local_id] = (remote_feed or self._feed_like(feed), id_)
        return pairs

    def _feed_like(self, feed: str) -> str:
        mapper = self.mappers.of(self.bases.source, feed)
        if mapper is None:
            raise UsageError(f"Nothing maps {feed}: name its records in the destination's pairs as feed/id.")
        return self._feed(mapper.entity)

    def _feed(self, entity: str) -> str:
        """Return the feed there that holds records of *entity*: the one that is set, or named like it, or the first."""
        feeds = [
            mapper.feed
            for mapper in self.mappers.all()
            if mapper.source == self.remote.source and mapper.entity == entity
        ]
        writable = [feed for feed in feeds if feed in self.remote.capabilities.push] or feeds
        if entity in self.options.feeds:
            return self.options.feeds[entity]
        if not writable:
            raise UsageError(f"{self.remote.source} has nothing that holds a {entity}; name other entities.")
        return next((feed for feed in writable if feed.lower() == entity), writable[0])


def _pages(names: Sequence[Name]) -> Iterator[Sequence[Name]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]
