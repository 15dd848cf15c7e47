"""The notes that a remote keeps between the runs of an organisation: the table medmirror.sync_note."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql

_statement = partial(sql.statement, "budget.sql")


class SyncNotes:
    """The ``Notes`` of an organisation's remote. Each is written in a transaction of its own, and so at once."""

    def __init__(self, engine: Engine, organization_id: str, source: str) -> None:
        self._engine = engine
        self._key = {"organization_id": organization_id, "source": source}

    def get(self, name: str) -> str | None:
        """Return the text stored as *name*; None when there is none."""

        def work(conn: Connection) -> str | None:
            text = conn.execute(_statement("note"), {**self._key, "name": name}).scalar()
            return None if text is None else str(text)

        return retry.in_transaction(self._engine, work)

    def set(self, name: str, value: str | None) -> None:
        """Store *value* as *name*; None: delete it."""
        statement = _statement("forget note" if value is None else "set note")
        values = {**self._key, "name": name} | ({} if value is None else {"value": value})
        retry.in_transaction(self._engine, lambda conn: conn.execute(statement, values))


def forget_pushed(engine: Engine, organization_id: str) -> int:
    """Delete the notes of single writes (names that begin with ``pushed:``) older than 30 days; return how many.

    Such a note keeps a write whose answer was lost from being made twice. It is not read again once the base is
    written.
    """
    values = {"organization_id": organization_id}
    return retry.in_transaction(engine, lambda conn: conn.execute(_statement("forget pushed"), values).rowcount)
