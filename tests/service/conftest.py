"""The service on a database of a test's own, reached over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from worlds import NOW, OURS, THEIRS, Make, World, organization, served

from medmirror.service import app as service_app
from medmirror.service.options import Options
from medmirror.settings import Settings
from medmirror.sync import queue
from medmirror.testing.clock import SimulatedClock


@pytest.fixture
def make(engine: Engine, dsn: str) -> Iterator[Make]:
    """A function that makes a World with these Options."""

    def one(**options: Any) -> World:
        settings = Settings.from_environment(dsn=dsn)
        clock = SimulatedClock(NOW)
        waiting = queue.of(settings)
        app = service_app.create(engine, waiting, settings, clock.clock, Options(**options))
        client = stack.enter_context(httpx.Client(base_url=stack.enter_context(served(app)), timeout=30))
        stack.callback(waiting.close)
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
