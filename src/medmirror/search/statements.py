"""The statements of a feed's search: those of search.sql with the names of the feed and the source's own SELECTs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from medmirror import sources
from medmirror.db import sql
from medmirror.sources.base import Feed


def feeds(names: Sequence[str]) -> Iterator[tuple[str, Feed]]:
    """The feeds of the sources *names* that can be searched: those with a section `search FEED` in their SQL file."""
    for name in names:
        sections = sql.sections(f"sources/{name}.sql")
        yield from ((name, feed) for feed in sources.get(name).feeds if f"search {feed.name}" in sections)


@cache
def statements(source: str, feed: Feed) -> Mapping[str, str]:
    """The statements for *feed* by the names of their sections."""
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
        "last": ", ".join(f"CAST(:last{i} AS {column.kind})" for i, column in enumerate(feed.key)),
        "document": own[f"search {feed.name}"].rstrip("; \n"),
        "headline": own[f"headline {feed.name}"].rstrip("; \n"),
    }
    sections = {title: body for title, body in sql.sections("search.sql").items() if not title.startswith("migrate ")}
    return {title: body.format(**values) for title, body in sections.items()}


@cache
def layout(source: str, feed: Feed) -> bytes:
    """Four bytes that change with what a vector of *feed* is made of."""
    functions = "".join(body for title, body in sql.sections("search.sql").items() if title.startswith("migrate "))
    document = sql.sections(f"sources/{source}.sql")[f"search {feed.name}"]
    return hashlib.sha256(f"{functions}\0{document}".encode()).digest()[:4]
