"""How a conflict is settled: a strategy takes a side, merges both field by field, or waits for a person.

Records are canonical ones, both in the destination's words (see ``translate``), so that equal contents are equal
records. The decision depends on them alone; nothing is read, nothing is written.

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
    """A side's record, and when it was last changed there (microseconds since 1970; None: not recorded)."""

    record: Record
    time: int | None = None


class Decision(NamedTuple):
    """*take*: whose record is to stand in the destination (``merged``: *record*; ``wait``: a person says). *record* is
    None for ``remote`` and ``wait``. *why* is for people, and names fields, never values."""

    take: Literal["local", "remote", "merged", "wait"]
    record: dict[str, Any] | None
    why: str


class Agreed(NamedTuple):
    """The records of both sides when they last agreed; the two differ where it was agreed to differ."""

    local: Record
    remote: Record


def policy_of(settings: Mapping[str, Any]) -> Policy:
    """Return the policy of a destination's settings (``strategy``, ``fields``). Raises UsageError for a wrong one."""
    strategy, fields = settings.get("strategy", "prioritize_source"), settings.get("fields") or {}
    if strategy not in get_args(Strategy):
        raise UsageError(f"A destination's strategy is one of: {', '.join(get_args(Strategy))}.")
    if not isinstance(fields, Mapping) or any(
        field_policy not in get_args(FieldPolicy) for field_policy in fields.values()
    ):
        raise UsageError(f"A destination's fields each have one of: {', '.join(get_args(FieldPolicy))}.")
    return Policy(strategy, dict(fields))


def decide(policy: Policy, base: Agreed | None, local: Held, remote: Held) -> Decision:
    """Return the record that is to stand in the destination, for a record that differs on both sides."""
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
    """Return the fields of *record*, those of ``extra`` each by itself."""
    fields = {name: value for name, value in record.items() if name != "extra"}
    return fields | {f"extra.{name}": value for name, value in (record.get("extra") or {}).items()}


def deep(fields: Record) -> dict[str, Any]:
    """Return the record with these *fields*: the inverse of ``flat``."""
    record = {name: value for name, value in fields.items() if not name.startswith("extra.")}
    extra = {name.removeprefix("extra."): value for name, value in fields.items() if name.startswith("extra.")}
    return {**record, "extra": extra} if extra else record


def changed_fields(base: Record, now: Record) -> set[str]:
    """Return the names of the fields that differ; a missing field differs from one that is there."""
    before, after = flat(base), flat(now)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _by_field(policy: Policy, base: Agreed | None, local: Held, remote: Held) -> Decision:
    local_fields, remote_fields = flat(local.record), flat(remote.record)
    if base is None:  # they meet for the first time: a field that only one of them has is no conflict
        changed_here, changed_there = set(local_fields), set(remote_fields)
    else:
        changed_here, changed_there = (
            changed_fields(base.local, local.record),
            changed_fields(base.remote, remote.record),
        )
    merged, waits, settled = dict(remote_fields), [], []
    for name in sorted(changed_here):
        if local_fields.get(name) == remote_fields.get(name):
            continue
        if name not in changed_there:
            _put(merged, name, local_fields.get(name))
            continue
        settled.append(name)
        value = _field(policy, name, local_fields.get(name), remote_fields.get(name), local.time, remote.time)
        if value is _WAIT:
            waits.append(name)
        else:
            _put(merged, name, value)
    if waits:
        return Decision("wait", None, f"a person settles: {', '.join(waits)}")
    why = f"settled by field: {', '.join(settled)}" if settled else "each side changed other fields"
    return Decision("merged", deep(merged), why)


_WAIT = object()


def _field(policy: Policy, name: str, local: Any, remote: Any, local_time: int | None, remote_time: int | None) -> Any:
    match policy.fields.get(name, policy.fields.get(EVERY, "source")):
        case "source":
            return local
        case "destination":
            return remote
        case "newest":
            if local_time is None or remote_time is None:
                return _WAIT
            return local if local_time >= remote_time else remote
        case "both" if isinstance(local, list) and isinstance(remote, list):
            return [*remote, *(item for item in local if item not in remote)]
        case "both" if isinstance(local, str) and isinstance(remote, str):
            return remote if local in remote else local if remote in local else f"{remote}\n{local}"
    return _WAIT


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        fields.pop(name, None)
    else:
        fields[name] = value
