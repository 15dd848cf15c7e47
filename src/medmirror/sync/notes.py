"""What a remote keeps between the runs of an organisation: the table medmirror.sync_note."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql

_statement = partial(sql.statement, "budget.sql")


class SyncNotes:
    """The ``Notes`` of an organisation's remote. Each is written in a transaction of its own, and so at once."""

    def __init__(self, engine: Engine, organization_id: str, source: str) -> None:
        self._engine = engine
        self._whose = {"organization_id": organization_id, "source": source}

    def get(self, name: str) -> str | None:
        """The text kept as *name*."""

        def work(conn: Connection) -> str | None:
            found = conn.execute(_statement("note"), {**self._whose, "name": name}).scalar()
            return None if found is None else str(found)

        return retry.in_transaction(self._engine, work)

    def set(self, name: str, value: str | None) -> None:
        """Keep *value* as *name*; None: forget it."""
        statement = _statement("forget note" if value is None else "set note")
        values = {**self._whose, "name": name} | ({} if value is None else {"value": value})
        retry.in_transaction(self._engine, lambda conn: conn.execute(statement, values))


def forget_pushed(engine: Engine, organization_id: str) -> int:
    """Forget what remotes noted of single writes over 30 days ago (names that begin with ``pushed:``); return how many.

    Such a note keeps a write whose answer was lost from being made twice. Once its base is written, nobody asks for it.
    """
    values = {"organization_id": organization_id}
    return retry.in_transaction(engine, lambda conn: conn.execute(_statement("forget pushed"), values).rowcount)
