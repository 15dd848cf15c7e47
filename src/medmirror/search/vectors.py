"""The vectors are brought up to date: for records whose digest, or whose vector's layout, is not the current one.

Only facts of runs that may have been unfinished at the refresh before, and of later ones, are compared; all of them
after the layout has changed. A record that Postgres refuses is found by halving. It is indexed by its first part, or
not at all, noted in medmirror.search_flaw, and holds up nothing else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from psycopg.errors import InsufficientPrivilege, InternalError_, OutOfMemory, QueryCanceled, ReadOnlySqlTransaction
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from medmirror.db import locks, refusals, retry
from medmirror.search.statements import feeds, layout, statements
from medmirror.sources.base import Feed

_log = logging.getLogger(__name__)

_TOGETHER = 2_000  # records a transaction: lock 12346 is held only so long
_PAGE = 100_000  # keys that are asked for at once
_FEW = 100_000  # vectors that a search makes anew by itself when their layout has changed
_TRIES = 20

Key = tuple[Any, ...]


class _State(NamedTuple):
    horizon: int  # what runs below it wrote can be seen
    since: int  # runs from here on are compared
    layout: bytes | None  # of all vectors, once this refresh is done
    renew: bool  # whether vectors of another layout are made anew


def refresh(engine: Engine, names: Sequence[str], *, run_id: int = 0, rebuild: bool = True) -> int:
    """Bring the vectors of the sources *names* up to date; return the number of records that were behind.

    Works under lock 12346, 2,000 records a transaction: it may be interrupted, and another process may go on. A feed
    that fails does not hold up the others; its error is raised at the end. Raises LockRaceLost.

    Parameters
    ----------
    engine
        An engine on the mirror.
    names
        Sources.
    run_id
        The caller's own unfinished run, whose records are all committed; 0 when there is none.
    rebuild
        Whether to make a large index anew whose vectors have an older layout.
    """
    behind, failed = 0, list[DBAPIError]()
    for source, feed in feeds(names):
        try:
            behind += _Refresh(engine, source, feed).run(run_id, rebuild)
        except DBAPIError as error:
            if is_refusal_of_user(error):
                raise
            state = retry.sqlstate_of(error)
            _log.error("the search index of %s.%s could not be brought up to date (%s)", source, feed.name, state)
            failed.append(error)
    if failed:
        raise failed[0]
    return behind


def is_refusal_of_user(error: DBAPIError) -> bool:
    """Whether this user, or this server, may only read."""
    return isinstance(error.orig, InsufficientPrivilege | ReadOnlySqlTransaction)


def flaws(engine: Engine, names: Sequence[str]) -> dict[str, int]:
    """How many records of the sources *names* are indexed by their ``first part``, or by ``nothing``."""
    statement = statements(*next(feeds(names)))["flaws"] if any(feeds(names)) else ""

    def ask(conn: Connection) -> dict[str, int]:
        return {row.kept: row.records for row in conn.execute(text(statement), {"sources": list(names)})}

    return retry.in_transaction(engine, ask) if statement else {}


class _Refresh:
    """The refresh of one feed."""

    def __init__(self, engine: Engine, source: str, feed: Feed) -> None:
        self.engine, self.source, self.feed = engine, source, feed
        self.statements = statements(source, feed)
        self.layout = layout(source, feed)
        self.name = {"source": source, "feed": feed.name}

    def run(self, run_id: int, rebuild: bool) -> int:
        state = self._locked(lambda conn: self._begin(conn, run_id, rebuild))
        count = 0
        for page in self._pages(state):
            count += len(page)
            for first in range(0, len(page), _TOGETHER):
                self._bring_up(page[first : first + _TOGETHER])
        retry.in_transaction(self.engine, lambda conn: self._end(conn, state))
        return count

    def _locked(self, work: Any) -> Any:
        return retry.retry_with_advisory_lock(self.engine, locks.SEARCH, work, attempts=_TRIES)

    def _begin(self, conn: Connection, run_id: int, rebuild: bool) -> _State:
        conn.execute(text(self.statements["make table"]))
        conn.execute(text(self.statements["grant"]))
        row = conn.execute(text(self.statements["state"]), self.name).one_or_none()
        horizon = conn.execute(text(self.statements["horizon"]), {"own": run_id}).scalar_one()
        before, old = (0, None) if row is None else (row.run_id, row.layout and bytes(row.layout))
        if row is None or old == self.layout:
            return _State(horizon, before, self.layout, True)
        few = conn.execute(text(self.statements["size"]), {"most": _FEW + 1}).scalar_one() <= _FEW
        if rebuild or few:
            _log.info("the search index of %s.%s is made anew", self.source, self.feed.name)
            return _State(horizon, 0, self.layout, True)
        return _State(horizon, before, old, False)

    def _pages(self, state: _State) -> Iterator[list[Key]]:
        """The keys of records that are behind, in order."""
        asked = {"since": state.since, "renew": state.renew, "layout": self.layout, "page": _PAGE}
        section, last = "behind", dict[str, Any]()
        while True:
            statement = text(self.statements[section])
            page = self._locked(lambda conn: [tuple(row) for row in conn.execute(statement, {**asked, **last})])  # noqa: B023
            yield page
            if len(page) < _PAGE:
                return
            section, last = "behind after", {f"last{i}": value for i, value in enumerate(page[-1])}

    def _bring_up(self, keys: Sequence[Key]) -> None:
        values = self._values(keys)

        def work(conn: Connection) -> None:
            conn.execute(text(self.statements["drop changed"]), values)
            conn.execute(text(self.statements["add changed"]), values)
            conn.execute(text(self.statements["forget flaws"]), values)

        try:
            self._locked(work)
        except DBAPIError as error:
            if not _is_of_a_record(error):
                raise
            if len(keys) == 1:
                refused = {**values, "sqlstate": retry.sqlstate_of(error)}
                self._locked(lambda conn: self._keep_part(conn, refused))
                return
            middle = len(keys) // 2
            self._bring_up(keys[:middle])
            self._bring_up(keys[middle:])

    def _values(self, keys: Sequence[Key]) -> dict[str, Any]:
        arrays = {f"key{i}": list(values) for i, values in enumerate(zip(*keys, strict=True))}
        names = [json.dumps(list(key), default=str) for key in keys]
        return {**self.name, **arrays, "layout": self.layout, "names": names}

    def _keep_part(self, conn: Connection, values: dict[str, Any]) -> None:
        """Index a record that was refused by its first part, else by nothing, and note it."""
        conn.execute(text(self.statements["drop changed"]), values)
        kept = "first part"
        savepoint = conn.begin_nested()
        try:
            conn.execute(text(self.statements["add first part"]), values)
            savepoint.commit()
        except DBAPIError as second:
            savepoint.rollback()
            if not _is_of_a_record(second):
                raise
            kept = "nothing"
            conn.execute(text(self.statements["add nothing"]), values)
        conn.execute(text(self.statements["note flaw"]), {**values, "kept": kept})
        _log.warning(
            "a record of %s.%s is indexed by %s: see medmirror.search_flaw", self.source, self.feed.name,
            "its first part" if kept == "first part" else kept,
        )  # fmt: skip

    def _end(self, conn: Connection, state: _State) -> None:
        conn.execute(text(self.statements["make index"]))
        values = {**self.name, "run_id": state.horizon, "layout": state.layout}
        conn.execute(text(self.statements["set state"]), values)


def _is_of_a_record(error: DBAPIError) -> bool:
    """Whether *error* may come of what a record holds: then fewer records at once, or less of one, may be taken."""
    # too much for one statement: of memory, of time, of what Postgres can allocate
    return refusals.of_value(error) is not None or isinstance(error.orig, InternalError_ | OutOfMemory | QueryCanceled)
