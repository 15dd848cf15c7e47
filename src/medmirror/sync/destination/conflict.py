"""How a conflict is settled: a strategy takes a side, puts both together field by field, or waits for a person.

Records are canonical ones, both in the destination's words (see ``projecting``): the same thing is written in the same
way. All that is decided here is decided from them alone; nothing is read, nothing is written.

A field is a field of the entity; those of ``extra`` are fields of their own, ``extra.NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from medmirror.errors import UsageError

Record = Mapping[str, Any]
Strategy = Literal["prioritize_source", "prioritize_destination", "newest_wins", "per_field", "review"]
FieldPolicy = Literal["source", "destination", "newest", "both", "review"]
EVERY = "*"
"""In a policy of fields: every field that is not named."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A strategy; *fields*: for ``per_field``, what becomes of a field that both sides have changed."""

    strategy: Strategy = "prioritize_source"
    fields: Mapping[str, FieldPolicy] = field(default_factory=dict)


class Held(NamedTuple):
    """A side's record, and when it was last changed there (microseconds since 1970; None: it does not say)."""

    record: Record
    time: int | None = None


class Decision(NamedTuple):
    """*take*: whose record is to stand in the destination (``merged``: *record*; ``wait``: a person says). *record* is
    None for ``remote`` and ``wait``. *why* is for people, and names fields, never values."""

    take: Literal["local", "remote", "merged", "wait"]
    record: dict[str, Any] | None
    why: str


class Agreed(NamedTuple):
    """What each side held when they last agreed; the two differ where it was agreed to differ."""

    local: Record
    remote: Record


def policy_of(settings: Mapping[str, Any]) -> Policy:
    """The policy of a destination's settings (``strategy``, ``fields``). Raises UsageError."""
    strategy, fields = settings.get("strategy", "prioritize_source"), settings.get("fields") or {}
    if strategy not in get_args(Strategy):
        raise UsageError(f"A destination's strategy is one of: {', '.join(get_args(Strategy))}.")
    if not isinstance(fields, Mapping) or any(one not in get_args(FieldPolicy) for one in fields.values()):
        raise UsageError(f"A destination's fields each have one of: {', '.join(get_args(FieldPolicy))}.")
    return Policy(strategy, dict(fields))


def decide(policy: Policy, base: Agreed | None, local: Held, remote: Held) -> Decision:
    """What is to stand in the destination of a record that both sides hold otherwise."""
    match policy.strategy:
        case "prioritize_source":
            return _local(local, "the source comes first")
        case "prioritize_destination":
            return Decision("remote", None, "the destination comes first")
        case "newest_wins":
            return _newest(local, remote)
        case "per_field":
            return _by_field(policy, base, local, remote)
    return Decision("wait", None, "every conflict is a person's to settle")


def _local(local: Held, why: str) -> Decision:
    return Decision("local", dict(local.record), why)


def _newest(local: Held, remote: Held) -> Decision:
    if local.time is None or remote.time is None:
        return Decision("wait", None, "one side does not say when it was changed")
    if local.time >= remote.time:  # the source, where both are of one moment
        return _local(local, "the source was changed last")
    return Decision("remote", None, "the destination was changed last")


def flat(record: Record) -> dict[str, Any]:
    """*record* by field, those of ``extra`` each by itself."""
    made = {name: value for name, value in record.items() if name != "extra"}
    return made | {f"extra.{name}": value for name, value in (record.get("extra") or {}).items()}


def deep(fields: Record) -> dict[str, Any]:
    """The record of which ``flat`` made *fields*."""
    made = {name: value for name, value in fields.items() if not name.startswith("extra.")}
    extra = {name.removeprefix("extra."): value for name, value in fields.items() if name.startswith("extra.")}
    return {**made, "extra": extra} if extra else made


def changed_fields(base: Record, now: Record) -> set[str]:
    """The names of the fields that differ; one that is missing differs from one that is there."""
    before, after = flat(base), flat(now)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _by_field(policy: Policy, base: Agreed | None, local: Held, remote: Held) -> Decision:
    ours, theirs = flat(local.record), flat(remote.record)
    if base is None:  # they meet for the first time: a field that only one of them has is no conflict
        here, there = set(ours), set(theirs)
    else:
        here, there = changed_fields(base.local, local.record), changed_fields(base.remote, remote.record)
    made, waits, settled = dict(theirs), [], []
    for name in sorted(here):
        if ours.get(name) == theirs.get(name):
            continue
        if name not in there:
            _put(made, name, ours.get(name))
            continue
        settled.append(name)
        found = _field(policy, name, ours.get(name), theirs.get(name), local.time, remote.time)
        if found is _WAIT:
            waits.append(name)
        else:
            _put(made, name, found)
    if waits:
        return Decision("wait", None, f"a person settles: {', '.join(waits)}")
    why = f"settled by field: {', '.join(settled)}" if settled else "each side changed other fields"
    return Decision("merged", deep(made), why)


_WAIT = object()


def _field(policy: Policy, name: str, ours: Any, theirs: Any, here: int | None, there: int | None) -> Any:
    match policy.fields.get(name, policy.fields.get(EVERY, "source")):
        case "source":
            return ours
        case "destination":
            return theirs
        case "newest":
            return _WAIT if here is None or there is None else ours if here >= there else theirs
        case "both" if isinstance(ours, list) and isinstance(theirs, list):
            return [*theirs, *(one for one in ours if one not in theirs)]
        case "both" if isinstance(ours, str) and isinstance(theirs, str):
            return theirs if ours in theirs else ours if theirs in ours else f"{theirs}\n{ours}"
    return _WAIT


def _put(made: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        made.pop(name, None)
    else:
        made[name] = value
