"""What tests know of the MariaDB that tests/mariadb/conftest.py starts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.pool import NullPool


class Server(NamedTuple):
    """A running server, by its socket."""

    socket: Path

    def url(self, database: str = "", user: str = "root") -> str:
        """The URL of a database in it."""
        made = URL.create("mysql+pymysql", user, database=database or None, query={"unix_socket": str(self.socket)})
        return made.render_as_string(hide_password=False)

    def engine(self, database: str = "") -> Engine:
        """An engine for the test itself, by which it plays the clinic."""
        return create_engine(self.url(database), poolclass=NullPool)

    def kill(self, user: str) -> None:
        """End every connection of *user*, as an administrator would."""
        with self.engine().connect() as connection:
            found = connection.exec_driver_sql("SELECT id FROM information_schema.processlist WHERE user = %s", (user,))
            for (number,) in found.all():
                connection.exec_driver_sql(f"KILL CONNECTION {number}")
