"""The database that a command works on: reached, started where it is ours, and its tables up to date."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine

from medmirror.db import connect, embedded, migrate
from medmirror.settings import Settings


def open_database(settings: Settings) -> tuple[Engine, Settings]:
    """An engine on the database of *settings*, its tables up to date; and the settings with its DSN in them.

    Without a DSN it is the embedded Postgres, which is started. Raises StoreError.
    """
    if settings.dsn is None:
        settings = replace(settings, dsn=embedded.start(settings))
    engine = connect.engine_of(settings)
    try:
        connect.check(engine)
        migrate.migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine, settings
