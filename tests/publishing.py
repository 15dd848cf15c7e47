"""How the tests of `medmirror mirror` run one, here or in a process of its own that is killed at a step."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL
from sqlalchemy import Engine

from medmirror import publishers
from medmirror.clock import Clock
from medmirror.db import connect
from medmirror.ingest import executors, worker
from medmirror.publishers.base import Options, Result
from medmirror.settings import Settings
from medmirror.verify import audit
from medmirror_testing.servers.clock import SimulatedClock

_KILLED = """
import os, signal, sys
from pathlib import Path
from dataclasses import replace
from medmirror import publishers
from medmirror.publishers.base import Options
from medmirror.settings import Settings
publisher, url, dsn, folder, step = sys.argv[1:]
def reached(name):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)
settings = replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)
publishers.mirror(publisher, Options(url=url), settings=settings, folder=Path(folder), reached=reached)
"""


class Mirror:
    """Mirrors of one publisher into one database."""

    def __init__(self, publisher: str, url: str, dsn: str, folder: Path, time: SimulatedClock) -> None:
        self.publisher, self.url, self.dsn, self.folder, self.time = publisher, url, dsn, folder, time
        self.settings = replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)

    def run(self, **options: Any) -> Result:
        """One mirror run in this process."""
        clock: Clock = self.time.clock
        wanted = Options(**{"url": self.url, **options})
        with pytest.MonkeyPatch.context() as patch:  # to start a worker process a load would take most of the time
            patch.setattr(executors, "local", lambda workers: executors.Inline(worker.own_engine))
            try:
                return publishers.mirror(
                    self.publisher, wanted, settings=self.settings, folder=self.folder, clock=clock
                )
            finally:
                for engine in self._engines():
                    engine.dispose()
                worker.own_engine.cache_clear()

    def _engines(self) -> list[Engine]:
        """The engine that chunks were loaded with, as far as there is one."""
        return [worker.own_engine(self.settings, None)] if worker.own_engine.cache_info().currsize else []

    def killed_at(self, step: str) -> None:
        """One mirror run in a process that is killed at *step*."""
        process = Popen([sys.executable, "-c", _KILLED, self.publisher, self.url, self.dsn, str(self.folder), step])
        assert process.wait(120) == -signal.SIGKILL

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(SQL(query)).fetchall()  # type: ignore[arg-type]

    def files(self) -> list[str]:
        """What lies in the folder, but for the lock."""
        return sorted(path.name for path in self.folder.iterdir() if path.name != ".lock")

    def books_are_right(self) -> bool:
        """Whether the audit finds nothing."""
        engine = connect.engine(self.dsn)
        try:
            return not audit.audit(engine).findings
        finally:
            engine.dispose()
