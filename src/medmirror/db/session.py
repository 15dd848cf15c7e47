"""The only place that connects to Postgres: engines, workers, locks and queues all get their sessions here.

The state of a session is ours, never that of the server, of the user's role or of the environment. Its text is UTF-8,
its ``search_path`` names Postgres' own schema and no other, and every setting that changes the meaning of a statement
or of a value is set before the first statement. Whatever belongs to one organisation (role, organisation) is set for
one transaction, see ``connect``.

A transaction pooler gives each transaction another session of the server, and ours to somebody else. It is recognised
before anything is set, and refused: locks of sessions (``sessionlock``) cannot be had through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from medmirror.db import sql
from medmirror.errors import StoreError, TransactionPooler, UsageError, WrongEncoding
from medmirror.settings import is_ambiguous

OLDEST, NEWEST = 14, 18  #: major versions of Postgres that are tested
CONNECT_TIMEOUT = 10  # seconds
_PROBES = 3  # looks at a pooler; one is enough where nobody else uses it at the same moment

# Not among them: what an administrator uses to forbid something (default_transaction_read_only), to choose how safe a
# commit is (synchronous_commit), or to say as whom this user works (role).
MEANING = {
    "client_encoding": "UTF8",  # binary COPY and jsonb are sent as UTF-8
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "extra_float_digits": "1",  # fewer than 1 would round
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "xmloption": "content",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "default_text_search_config": "pg_catalog.simple",
    "gin_fuzzy_search_limit": "0",  # any other gives a part of what is found
    "row_security": "on",
    "session_replication_role": "origin",  # any other leaves out our triggers
    "check_function_bodies": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",  # a transaction of ours may wait for a slow remote
    "idle_session_timeout": "0",
    "client_min_messages": "warning",
    "jit": "off",  # compiling a plan costs more than any of our statements gains
    "default_toast_compression": "lz4",
}
"""The settings of every session, beside its ``search_path``."""

_LIBPQ = {  # a server that is gone without a word is noticed within a minute
    "connect_timeout": CONNECT_TIMEOUT,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_UNREADABLE = (
    "The DSN cannot be read; write it as postgresql://user@host/database, and special characters of a name or a"
    " password as %40 (@), %3A (:), %2F (/), %3F (?), %23 (#), %25 (%)."
)
_sections = sql.sections("session.sql")


class Session(psycopg.Connection[Any]):
    """A connection to Postgres. Through a session pooler it leaves nothing behind for whoever comes next."""

    pooled = False  #: another program stands between us and the server
    server_process = 0  #: process id of the server's end, as that end says

    def close(self) -> None:
        """Close the connection; a session that a pooler keeps is cleared first."""
        if self.pooled and not self.closed:
            with suppress(psycopg.Error):
                if self.info.transaction_status != TransactionStatus.IDLE:
                    self.rollback()
                self.autocommit = True
                self.execute(_sections["leave"].encode())
        super().close()

    def check(self) -> None:
        """Raise TransactionPooler when the server's end has become another one since the session began.

        Call it outside of a transaction; it begins none.
        """
        if not self.pooled:
            return
        self.autocommit = True
        process = _server_process(self)
        self.autocommit = False
        if process != self.server_process:
            raise TransactionPooler

    def __enter__(self) -> Self:
        return self


def conninfo(dsn: str, **defaults: Any) -> str:
    """*dsn* as a connection string of libpq, with *defaults* added. Raises UsageError when it cannot be read.

    The error quotes nothing of it: where its parts end is just what cannot be said. Nor is one tried in which libpq
    would take the tail of a password for the host.
    """
    plain = dsn.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        if is_ambiguous(plain):
            raise UsageError(_UNREADABLE)
        given = conninfo_to_dict(plain)
        return make_conninfo(plain, **{k: v for k, v in defaults.items() if k not in given})
    except psycopg.ProgrammingError:
        raise UsageError(_UNREADABLE) from None


def target(dsn: str, name: str = "medmirror") -> str:
    """*dsn* as the connection string of a session that the server calls *name*. Raises UsageError.

    The encoding stands above that of the environment, of the role and of the database.
    """
    return make_conninfo(conninfo(dsn, application_name=name, **_LIBPQ), client_encoding="UTF8")


def connect(target: str, own: Mapping[str, str] | None = None, **options: Any) -> Session:
    """A session on *target* (see ``target``) with its *own* settings above those of all; *options* are psycopg's.

    Raises psycopg.Error when the server cannot be reached or does not let us in, StoreError when its version is not
    supported, WrongEncoding, and TransactionPooler.
    """
    session = Session.connect(target, **options)
    try:
        begin(session, target, own)
    except BaseException:
        session.close()
        raise
    return session


def begin(session: Session, target: str, own: Mapping[str, str] | None = None) -> None:
    """Give *session*, which was just connected to *target*, the settings of every session, with its *own* above them.

    Raises what ``connect`` raises, but for failures to connect.
    """
    autocommit = session.autocommit
    session.autocommit = True
    check_server(session)
    session.server_process = _server_process(session)
    if session.server_process != session.info.backend_pid:
        if _shares_sessions(target):
            raise TransactionPooler  # and nothing of ours has been set
        session.pooled, session.prepare_threshold = True, None
    for statement, values in settings(own):
        session.execute(statement, values)
    session.autocommit = autocommit


def check_server(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Raise StoreError for a version of Postgres that is not tested, WrongEncoding for a database that is not UTF-8.

    Nothing is sent: the server has said both when it let us in.
    """
    major = connection.info.server_version // 10_000
    if not OLDEST <= major <= NEWEST:
        raise StoreError(f"Postgres {major} is not supported; use one from {OLDEST} to {NEWEST}.", server_version=major)
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise WrongEncoding(
            f"The database's encoding is {encoding}, and medical texts need UTF8; make one with CREATE DATABASE ..."
            " ENCODING 'UTF8' TEMPLATE template0, and use that.",
            database=connection.info.dbname,
        )


def settings(own: Mapping[str, str] | None = None) -> list[tuple[bytes, list[list[str]] | None]]:
    """The statements, with their values, that ``begin`` sends: the search path first, then all the others."""
    values = {**MEANING, **(own or {})}
    return [
        (_sections["search path"].encode(), None),
        (_sections["settings"].encode(), [list(values), list(values.values())]),
    ]


def _server_process(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(_sections["server process"].encode()).fetchone()
    return int(row[0]) if row else 0


@cache
def _shares_sessions(target: str) -> bool:
    """Whether the pooler at *target* gives one session of the server to several clients in turn.

    Two clients ask for the number of their server's process, and the second one keeps its transaction open: a pooler
    of sessions gives two numbers, and the first client's stays the same. Once a process of ours and pooler.
    """
    with psycopg.connect(target, autocommit=True) as first, psycopg.connect(target) as second:
        for _ in range(_PROBES):
            before = _server_process(first)
            if _server_process(second) == before or _server_process(first) != before:
                return True
            second.commit()
    return False
