"""The service on a database of a test's own, and organisations whose names cannot be mistaken for anything else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from medmirror.service import app as service_app
from medmirror.service import keys
from medmirror.service.options import Options
from medmirror.settings import Settings
from medmirror.sync import organizations, queue
from medmirror.sync.organizations import Organization
from medmirror.testing.clock import SimulatedClock

NOW = datetime(2026, 11, 18, 10, 30, tzinfo=UTC)
OURS, THEIRS = "org_ours", "org_theirs"
MARKER = "theirs-zz-7741"  # stands wherever the other organisation can put a text


class World(NamedTuple):
    """A service, its database, and a clock to turn."""

    app: FastAPI
    client: httpx.Client
    engine: Engine
    settings: Settings
    queue: queue.Queue
    clock: SimulatedClock

    def key(self, *scopes: str, of: tuple[str, ...] | None = (OURS,), **more: Any) -> dict[str, str]:
        """Headers with a new key for these *scopes* of *of* (None: every organisation)."""
        made = keys.add(self.engine, "test", scopes, of, self.clock.now(), **more)
        return {"Authorization": f"Bearer {made.token}"}


def organization(engine: Engine, organization_id: str, **more: Any) -> Organization:
    """An organisation with a Cliniko that nobody asks."""
    settings = {"base_url": "http://127.0.0.1:9"}
    return organizations.put(engine, Organization(organization_id, "cliniko", "cliniko", settings=settings, **more))


Make = Callable[..., World]


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address at which *app* answers for as long as a `with` lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", server_header=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


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
