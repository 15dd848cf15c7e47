"""Full-text search: a weighted tsvector a record in a table beside the mirror, kept up for what changed.

The vectors stand apart from the mirror tables so that loading never waits for them and a new weighting never rewrites a
record. Changed records are those whose digest is not that of the facts. Only facts of runs that may have been
unfinished at the refresh before, and of later ones, are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from medmirror import sources
from medmirror.db import locks, retry, sql
from medmirror.sources.base import Feed

_log = logging.getLogger(__name__)

_TOGETHER = 2_000  # records a transaction: lock 12346 is held only so long


class Hit(NamedTuple):
    """A record that matches a query: source, feed and key; rank (0..1); title; snippet with each match in ⟦ and ⟧."""

    source: str
    feed: str
    key: tuple[Any, ...]
    rank: float
    title: str
    snippet: str


def feeds(names: Sequence[str]) -> Iterator[tuple[str, Feed]]:
    """The feeds of the sources *names* that can be searched: those with a section `search FEED` in their SQL file."""
    for name in names:
        sections = sql.sections(f"sources/{name}.sql")
        yield from ((name, feed) for feed in sources.get(name).feeds if f"search {feed.name}" in sections)


@cache
def _statements(source: str, feed: Feed) -> Mapping[str, str]:
    names = [column.name for column in feed.key]
    own = sql.sections(f"sources/{source}.sql")
    values = {
        "name": f"{source}_{feed.name}",
        "search": f'"{source}"."{feed.name}_search"',
        "fact": f'"{source}"."{feed.name}_fact"',
        "keys": ", ".join(names),
        "fact_keys": ", ".join(f"t.{name}" for name in names),
        "key_columns": ", ".join(f"{column.name} {column.kind} NOT NULL" for column in feed.key),
        "match": " AND ".join(f"t.{name} = n.{name}" for name in names),
        "unnest": ", ".join(f"CAST(:key{i} AS {column.kind}[])" for i, column in enumerate(feed.key)),
        "document": own[f"search {feed.name}"].rstrip("; \n"),
        "headline": own[f"headline {feed.name}"].rstrip("; \n"),
    }
    return {title: body.format(**values) for title, body in sql.sections("search.sql").items()}


def refresh(engine: Engine, names: Sequence[str], *, run_id: int = 0) -> int:
    """Bring the vectors of the sources *names* up to date; return the number of records that were behind.

    Works under lock 12346, 2,000 records a transaction: it may be interrupted, and another process may go on. *run_id*
    is the caller's own unfinished run, whose records are all committed; 0 when there is none. Raises LockRaceLost.
    """
    return sum(_refresh(engine, source, feed, run_id) for source, feed in feeds(names))


def _refresh(engine: Engine, source: str, feed: Feed, run_id: int) -> int:
    statements = _statements(source, feed)
    name = {"source": source, "feed": feed.name}

    def prepare(conn: Connection) -> tuple[int, list[tuple[Any, ...]]]:
        conn.execute(text(statements["make table"]))
        since = conn.execute(text(statements["state"]), name).scalar() or 0
        horizon = conn.execute(text(statements["horizon"]), {"own": run_id}).scalar_one()
        behind = [tuple(row) for row in conn.execute(text(statements["behind"]), {"since": since})]
        return horizon, behind

    horizon, behind = retry.retry_with_advisory_lock(engine, locks.SEARCH, prepare, attempts=20)
    for first in range(0, len(behind), _TOGETHER):
        batch = behind[first : first + _TOGETHER]
        keys = {f"key{i}": list(values) for i, values in enumerate(zip(*batch, strict=True))}

        def bring_up(conn: Connection, keys: dict[str, list[Any]] = keys) -> None:
            conn.execute(text(statements["drop changed"]), keys)
            conn.execute(text(statements["add changed"]), keys)

        retry.retry_with_advisory_lock(engine, locks.SEARCH, bring_up, attempts=20)

    def remember(conn: Connection) -> None:
        conn.execute(text(statements["make index"]))
        conn.execute(text(statements["set state"]), {**name, "run_id": horizon})

    retry.in_transaction(engine, remember)
    return len(behind)


def search(engine: Engine, query: str, *, source: str | None = None, limit: int = 20) -> list[Hit]:
    """The best records for *query*, best first.

    The vectors are brought up to date first. A user who may only read gets the vectors that are there.

    Parameters
    ----------
    engine
        An engine on the mirror.
    query
        Words, "phrases", or, -not.
    source
        The source to search; None: all.
    limit
        The largest number of records.
    """
    names = [source] if source else list(sources.names())
    try:
        refresh(engine, names)
    except DBAPIError as error:
        if not isinstance(error.orig, InsufficientPrivilege | ReadOnlySqlTransaction):
            raise
        _log.warning("this user may not refresh the search vectors; the newest records may be missing")
    hits: list[Hit] = []
    with engine.connect() as conn:
        for name, feed in feeds(names):
            width = len(feed.key)
            statement = _statements(name, feed)["find"]
            table = conn.execute(text("SELECT to_regclass(:name)"), {"name": f"{name}.{feed.name}_search"}).scalar()
            if table is None:
                continue
            for row in conn.execute(text(statement), {"query": query, "limit": limit}):
                key, (title, snippet, rank) = tuple(row[:width]), row[width:]
                hits.append(Hit(name, feed.name, key, float(rank), title or "", snippet or ""))
    hits.sort(key=lambda hit: (-hit.rank, hit.source, hit.feed, tuple(map(str, hit.key))))
    return hits[:limit]
