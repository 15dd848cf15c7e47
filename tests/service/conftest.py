"""The service on a database of a test's own, reached over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import Engine
from worlds import NOW, OURS, THEIRS, Make, Stage, WakeUps, World, organization, served

from medmirror.service import app as service_app
from medmirror.service.options import Options
from medmirror.settings import Settings
from medmirror_testing.servers.clock import SimulatedClock

_TABLES = ("dead_letter", "job_key", "job", "watermark", "worker", "scheduler", "organization", "api_key", "audit_log",
           "webhook_event", "reject", "chunk", "file", "run")  # fmt: skip


@pytest.fixture(scope="session")
def shared(database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """One database for all tests of the service: to make one takes longer than most of them."""
    with database() as made:
        yield made


@pytest.fixture(scope="session")
def server_of_all() -> Iterator[tuple[Stage, str]]:
    """One HTTP server for all tests, and its address: to start and to stop one takes longer than most of them."""
    stage = Stage()
    with served(stage) as address:
        yield stage, address


@pytest.fixture
def dsn(shared: str) -> str:
    """That database, with nothing of the service's in it."""
    with psycopg.connect(shared) as connection:
        for name in _TABLES:  # of few rows: quicker than TRUNCATE
            connection.execute(SQL("DELETE FROM {}").format(Identifier("medmirror", name)))
    return shared


@pytest.fixture
def make(engine: Engine, dsn: str, server_of_all: tuple[Stage, str]) -> Iterator[Make]:
    """A function that makes a World with these Options."""

    def one(engine: Engine = engine, **options: Any) -> World:
        settings = Settings.from_environment(dsn=dsn)
        clock = SimulatedClock(NOW)
        waiting = WakeUps()
        app = service_app.create(engine, waiting, settings, clock.clock, Options(**options))
        if stage.app is None:
            stage.app, address = app, staged
        else:  # the second one of this test
            address = stack.enter_context(served(app))
        client = stack.enter_context(httpx.Client(base_url=address, timeout=120, verify=False))
        return World(app, client, engine, settings, waiting, clock)

    stage, staged = server_of_all
    with ExitStack() as stack:
        yield one
        stage.app = None


@pytest.fixture
def world(make: Make) -> World:
    """A service with two organisations."""
    made = make(rate=1000.0, burst=10_000)
    organization(made.engine, OURS)
    organization(made.engine, THEIRS)
    return made
