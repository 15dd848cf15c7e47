"""The parts of a night and what each waits for. Pure: made from the Config alone.

    load.NAME[/ORGANIZATION] -> deletions.SOURCE/ORGANIZATION -> map/ORGANIZATION -> dedup/ORGANIZATION
    load.NAME -> index.SOURCE

Loads wait only for those that their ``after`` names, for the same organization where both have one. The stages behind
them are one part an organization, so that one clinic's trouble does not hold up another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from medmirror.errors import UsageError
from medmirror.nightly.config import Config, Load, When


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a night. *kind*: load, deletions, map, dedup or index; *after*: names of the parts that it waits
    for."""

    name: str
    kind: str
    source: str | None
    organization: str | None
    when: When
    after: tuple[str, ...] = ()
    load: Load | None = None


def parts(config: Config, only: Sequence[str] = ()) -> tuple[Part, ...]:
    """The parts of a night, each after all that it waits for; *only* those of the sources or loads named so.

    A load that is not enabled runs only when it is named.
    Raises UsageError when loads wait for one another in a circle, or when *only* names nothing.
    """
    loads = [
        load for load in config.loads
        if load.name in only or (load.when.enabled and (not only or load.source in only))
    ]  # fmt: skip
    names = {load.name for load in config.loads} | {load.source for load in config.loads}
    if unknown := sorted(set(only) - names):
        raise UsageError(f"{unknown[0]!r} is neither a load nor a source of this file: {', '.join(sorted(names))}.")
    planned = list(_loads(loads))
    tenants = [part for part in planned if part.organization is not None]
    if config.deletions.when.enabled:
        # A pass over some of an organization's loads would miss what only the others hold.
        left_out = {(load.source, name) for load in config.loads if load not in loads for name in load.organizations}
        whole = [part for part in tenants if (part.source, part.organization) not in left_out]
        planned += list(_deletions(whole, config.deletions.when))
    for kind, when in (("map", config.map), ("dedup", config.dedup)):
        if when.enabled:
            planned += list(_of_organizations(kind, tenants, planned, when))
    if config.index.enabled:
        planned += list(_index(planned, config.index))
    return tuple(_in_order(planned))


def _loads(loads: Sequence[Load]) -> Iterator[Part]:
    by_name = {load.name: load for load in loads}
    for load in loads:
        for organization in load.organizations or (None,):
            waits = [by_name[name] for name in load.after if name in by_name]
            after = tuple(name for other in waits for name in _names(other, organization))
            name = _name("load", load.name, organization)
            yield Part(name, "load", load.source, organization, load.when, after, load)


def _name(kind: str, what: str, organization: str | None) -> str:
    return f"{kind}.{what}" if organization is None else f"{kind}.{what}/{organization}"


def _names(load: Load, organization: str | None) -> list[str]:
    """The parts of *load* that a part of *organization* waits for: its own organization's, or all."""
    owners: list[str | None] = [owner for owner in load.organizations if owner == organization]
    owners = owners or list(load.organizations) or [None]
    return [_name("load", load.name, owner) for owner in owners]


def _deletions(tenants: Sequence[Part], when: When) -> Iterator[Part]:
    """A pass over an organization's source may be several loads: it is judged when all of them are through."""
    for source, organization in dict.fromkeys((part.source, part.organization) for part in tenants):
        after = [part.name for part in tenants if (part.source, part.organization) == (source, organization)]
        yield Part(_name("deletions", str(source), organization), "deletions", source, organization, when, tuple(after))


def _of_organizations(kind: str, tenants: Sequence[Part], planned: Sequence[Part], when: When) -> Iterator[Part]:
    for organization in dict.fromkeys(part.organization for part in tenants):
        after = tuple(part.name for part in planned if part.organization == organization)
        yield Part(f"{kind}/{organization}", kind, None, organization, when, after)


def _index(planned: Sequence[Part], when: When) -> Iterator[Part]:
    loads = [part for part in planned if part.kind == "load" and part.organization is None]
    for source in dict.fromkeys(part.source for part in loads):
        after = tuple(part.name for part in loads if part.source == source)
        yield Part(f"index.{source}", "index", source, None, when, after)


def _in_order(planned: Iterable[Part]) -> Iterator[Part]:
    waiting = {part.name: part for part in planned}
    while waiting:
        ready = [part for part in waiting.values() if not set(part.after) & set(waiting)]
        if not ready:
            circle = ", ".join(sorted(waiting))
            raise UsageError(f"These parts wait for one another in a circle: {circle}; change their `after`.")
        for part in ready:
            del waiting[part.name]
            yield part
