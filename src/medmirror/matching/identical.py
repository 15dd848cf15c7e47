"""Records with the same content under different keys: reported, never merged.

Two trials with equal titles are two trials. Postgres does the work; only counts and the keys of the largest groups come
here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from medmirror import sources
from medmirror.db import sql
from medmirror.errors import UsageError
from medmirror.mapping.schema.entities import ENTITIES
from medmirror.model import Column
from medmirror.sources.base import Feed

KEYS_SHOWN = 10  #: of a group

# Members of a JSON object that say which record it is and when, not what is in it: an SQL literal, a regular expression
# over jsonb's text. The colons of the syntax are escaped, for a name after a colon is a parameter.
_NAMES = (
    r"[A-Za-z0-9_]*_ids?|ids?|[A-Za-z0-9]*[a-z]Ids?|[A-Za-z0-9_]*ndc|pmid|pmc|doi|self|[A-Za-z]*[vV]ersion[A-Za-z_]*"
    r"|[A-Za-z0-9_]*[dD]ate(_text)?|[A-Za-z0-9_]*_(at|time|day|posted)|lastUpdated|{keys}"
)
_VALUES = r'"([^"\\]|\\.)*"|\[[^][{{}}]*\]|[-0-9.eE+]+|true|false|null'
_MEMBERS = f"""'"({_NAMES})"\\: ({_VALUES}),? ?'"""


class Group(NamedTuple):
    """A group of *size* records with the same content, and the keys of the first 10 of them."""

    size: int
    keys: list[list[str]]


@dataclass(frozen=True, slots=True)
class Identical:
    """The identical records of one feed or entity.

    *records* counts the living records, *groups* the groups of equal ones, *members* the records in these groups;
    *largest* lists the largest groups.
    """

    where: str
    records: int
    groups: int = 0
    members: int = 0
    largest: list[Group] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {**asdict(self), "largest": [group._asdict() for group in self.largest]}


def report(
    engine: Engine, *, source: str | None = None, organization: str | None = None, limit: int = 20
) -> list[Identical]:
    """The identical records, by feed for public sources, by canonical entity for organisations' records.

    At most *limit* groups of each are listed. Changes nothing. Raises UsageError for an unknown source, and for a
    public one together with an organisation.
    """
    only = sources.get(source) if source else None
    if only and organization and not only.tenant:
        raise UsageError(f"{only.name} is public: its records belong to no organisation; leave --org out.")
    places: list[Identical] = []
    with engine.connect() as conn:
        for name in [source] if source else sources.names() if organization is None else ():
            if not sources.get(name).tenant:
                places += [_public(conn, name, feed, limit) for feed in sources.get(name).feeds]
        if only is None or only.tenant:
            filters = {"source": source, "organization": organization}
            places += [_canonical(conn, entity, filters, limit) for entity in ENTITIES]
    return [place for place in places if place.records]


def _public(conn: Connection, source: str, feed: Feed, limit: int) -> Identical:
    keys = [column.name for column in feed.key]
    names = {
        "table": f'"{source}"."{feed.name}"',
        "keys": ", ".join(f't."{key}"::text'.replace("::", r"\:\:") for key in keys),
        "cheap": ", ".join(f't."{column.name}"' for column in _content(feed)) or "1",
        "content": _document(feed),
        "members": _MEMBERS.format(keys="|".join(keys)),
        "shown": str(KEYS_SHOWN),
    }
    return _count(conn, f"{source}.{feed.name}", "living", "identical", names, {}, limit)


def _canonical(conn: Connection, entity: str, filters: Mapping[str, Any], limit: int) -> Identical:
    names = {"shown": str(KEYS_SHOWN)}
    values = {**filters, "entity": entity}
    return _count(conn, f"canonical.{entity}", "living canonical", "identical canonical", names, values, limit)


def _count(
    conn: Connection, where: str, size: str, name: str, names: Mapping[str, str], values: Mapping[str, Any], limit: int
) -> Identical:
    records = conn.execute(text(_query(size, names)), values).scalar_one()
    if not records:
        return Identical(where, 0)
    rows = list(conn.execute(text(_query(name, names)), {**values, "limit": max(limit, 1)}))
    if not rows:
        return Identical(where, records)
    largest = [Group(row.members, row.keys) for row in rows[:limit]]
    return Identical(where, records, rows[0].groups, int(rows[0].all_members), largest)


def _query(name: str, names: Mapping[str, str]) -> str:
    body = sql.sections("matching.sql")[name].replace("::", r"\:\:")
    return body.format(**names)


def _content(feed: Feed) -> Iterator[Column]:
    """The columns of a record's content: no document, no date, no name of the record."""
    for column in feed.columns:
        identity = column.name.endswith(("_id", "_ids", "_aliases", "_ndc", "_date", "_posted", "_date_text"))
        odd = column.name in ("id", "version", "pmid", "pmc", "doi", "spl_set_id", "version_date", "date_text")
        if column.kind in ("text", "text[]", "bool", "int2", "int4", "int8") and not identity and not odd:
            yield column


def _document(feed: Feed) -> str:
    """The SQL of the whole record: its jsonb column, or its row when the feed has no such column."""
    first = feed.columns[0]
    return f't."{first.name}"' if first.kind == "jsonb" else "to_jsonb(t)"
