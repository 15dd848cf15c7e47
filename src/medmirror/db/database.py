"""The database of a command: connected, started when it is the embedded one, its tables up to date."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine

from medmirror.db import connect, embedded, migrate
from medmirror.settings import Settings


def open_database(settings: Settings) -> tuple[Engine, Settings]:
    """(an engine on the database of *settings*, with its tables up to date; the settings with its DSN).

    Without a DSN the embedded Postgres is started. Raises StoreError.
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
