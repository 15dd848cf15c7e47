"""What a search finds: by words, phrases and exclusions, or by an identifier as a whole."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from medmirror import sources
from medmirror.errors import StoreError, UsageError
from medmirror.search.statements import feeds, layout, statements
from medmirror.search.vectors import is_refusal_of_user, refresh
from medmirror.sources.base import Feed

_log = logging.getLogger(__name__)

_IDENTIFIER = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|(?:doi|pmid|pmcid)\s*:?\s*)?(\S+)\Z", re.IGNORECASE)
_LONGEST = 200  # characters of an identifier; longer ones are known by their beginning


class Hit(NamedTuple):
    """A record that matches a query: source, feed and key; rank (0..1); title; snippet with each match in ⟦ and ⟧."""

    source: str
    feed: str
    key: tuple[Any, ...]
    rank: float
    title: str
    snippet: str


def search(engine: Engine, query: str, *, source: str | None = None, limit: int = 20) -> list[Hit]:
    """The best records for *query*, best first; a record whose identifier it is has rank 1.

    The vectors are brought up to date first. A user who may only read gets the vectors that are there.

    Raises
    ------
    UsageError
        The query has no word that is searched for.
    StoreError
        There is no search index yet, and this user may not make it.

    Parameters
    ----------
    engine
        An engine on the mirror.
    query
        Words, "phrases", or, -not; or an identifier, such as a PMID or a DOI.
    source
        The source to search; None: all.
    limit
        The largest number of records.
    """
    names = [source] if source else list(sources.names())
    query = query.replace("\0", " ")
    exact = _exact(query)
    _check(engine, names, query, exact)
    _bring_up(engine, names)
    hits, absent = list[Hit](), list[str]()
    with engine.connect() as conn:
        for name, feed in feeds(names):
            found = _find(conn, name, feed, {"query": query, "exact": exact, "limit": limit})
            hits += found or []
            absent += [name] if found is None else []
    if absent and len(absent) == len(list(feeds(names))):
        raise StoreError("There is no search index yet; its owner makes it: medmirror index.")
    if absent:
        _log.warning("no search index yet of %s: medmirror index", ", ".join(dict.fromkeys(absent)))
    hits.sort(key=lambda hit: (-hit.rank, hit.source, hit.feed, tuple(map(str, hit.key))))
    return hits[:limit]


def _exact(query: str) -> str | None:
    """The tsquery for *query* as an identifier; None when it has more than one word."""
    match = _IDENTIFIER.match(query.strip().strip('"'))
    if match is None:
        return None
    lexeme = f"={match[1].lower()[:_LONGEST]}".replace("\\", "\\\\").replace("'", "''")
    return f"'{lexeme}'"


def _check(engine: Engine, names: Sequence[str], query: str, exact: str | None) -> None:
    """Raise UsageError when nothing in *query* is searched for."""
    first = next(feeds(names), None)
    if first is None:
        return
    with engine.connect() as conn:
        words = conn.execute(text(statements(*first)["words"]), {"query": query}).scalar_one()
    if not words and (exact is None or not re.search(r"\d", query)):  # an identifier has digits, a stop word has none
        raise UsageError(
            "The query has no word that is searched for: very common words (the, of, and) and signs are not."
        )


def _bring_up(engine: Engine, names: Sequence[str]) -> None:
    try:
        refresh(engine, names, rebuild=False)
    except DBAPIError as error:
        if is_refusal_of_user(error):
            _log.warning("this user may not refresh the search vectors; the newest records may be missing")
        else:
            _log.warning("the search index is not wholly up to date: medmirror index says why")


def _find(conn: Connection, source: str, feed: Feed, asked: dict[str, Any]) -> list[Hit] | None:
    """The hits among the records of *feed*; None when it has no index."""
    own = statements(source, feed)
    if conn.execute(text("SELECT to_regclass(:name)"), {"name": f"{source}.{feed.name}_search"}).scalar() is None:
        return None
    _say_rebuild(conn, source, feed)
    width = len(feed.key)
    hits = []
    for row in conn.execute(text(own["find"]), asked):
        key, (title, snippet, rank) = tuple(row[:width]), row[width:]
        hits.append(Hit(source, feed.name, key, float(rank), title or "", snippet or ""))
    return hits


def _say_rebuild(conn: Connection, source: str, feed: Feed) -> None:
    """Warn when the vectors are not all of this version's layout."""
    savepoint = conn.begin_nested()
    try:
        asked = {"source": source, "feed": feed.name}
        row = conn.execute(text(statements(source, feed)["state"]), asked).one_or_none()
        savepoint.commit()
    except DBAPIError as error:
        savepoint.rollback()
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        return
    if row is None or (row.layout and bytes(row.layout)) != layout(source, feed):
        _log.warning(
            "the search index of %s.%s is not wholly made in the form of this version: some records may not be found; "
            "medmirror index makes it", source, feed.name,
        )  # fmt: skip
