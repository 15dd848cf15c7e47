"""The service on a database of a test's own, reached over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from worlds import NOW, OURS, THEIRS, Make, WakeUps, World, organization, served

from medmirror.service import app as service_app
from medmirror.service.options import Options
from medmirror.settings import Settings
from medmirror.testing.clock import SimulatedClock


@pytest.fixture
def make(engine: Engine, dsn: str) -> Iterator[Make]:
    """A function that makes a World with these Options."""

    def one(engine: Engine = engine, **options: Any) -> World:
        settings = Settings.from_environment(dsn=dsn)
        clock = SimulatedClock(NOW)
        waiting = WakeUps()
        app = service_app.create(engine, waiting, settings, clock.clock, Options(**options))
        client = stack.enter_context(httpx.Client(base_url=stack.enter_context(served(app)), timeout=30))
        return World(app, client, engine, settings, waiting, clock)

    with ExitStack() as stack:
        yield one


@pytest.fixture
def world(make: Make) -> World:
    """A service with two organisations."""
    made = make(rate=1000.0, burst=10_000)
    organization(made.engine, OURS)
    organization(made.engine, THEIRS)
    return made
