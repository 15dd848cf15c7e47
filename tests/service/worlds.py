"""What tests of the service work with: a World, and organisations whose names cannot be mistaken for anything else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine, text
from starlette.types import ASGIApp, Receive, Scope, Send

from medmirror.service import keys, serving
from medmirror.settings import Settings
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization
from medmirror_testing.servers.clock import SimulatedClock

NOW = datetime(2026, 11, 18, 10, 30, tzinfo=UTC)
OURS, THEIRS = "org_ours", "org_theirs"
MARKER = "theirs-zz-7741"  # stands wherever the other organisation can put a text


class WakeUps:
    """A Queue that keeps what it was told and wakes nobody. The rows of jobs are the truth; queues have tests of their
    own."""

    def __init__(self) -> None:
        self.told: list[UUID] = []

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        """See Queue."""
        self.told.append(job_id)

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        """See Queue."""

    def depth(self) -> int:
        """See Queue."""
        return len(self.told)

    def close(self) -> None:
        """See Queue."""


class World(NamedTuple):
    """A service, its database, and a clock to turn."""

    app: FastAPI
    client: httpx.Client
    engine: Engine
    settings: Settings
    queue: WakeUps
    clock: SimulatedClock

    def key(self, *scopes: str, of: tuple[str, ...] | None = (OURS,), **more: Any) -> dict[str, str]:
        """Headers with a new key for these *scopes* of *of* (None: every organisation)."""
        made = keys.add(self.engine, "test", scopes, of, self.clock.now(), **more)
        return {"Authorization": f"Bearer {made.token}"}


def organization(engine: Engine, organization_id: str, **more: Any) -> Organization:
    """An organisation with a Cliniko that nobody asks."""
    settings = {"url": "http://127.0.0.1:9"}
    return organizations.put(engine, Organization(organization_id, "cliniko", "cliniko", settings=settings, **more))


Make = Callable[..., World]


@contextmanager
def without(engine: Engine, table: str) -> Iterator[None]:
    """While a `with` lasts, there is no table of that name."""
    with engine.begin() as conn:
        conn.execute(text(f"ALTER TABLE medmirror.{table} RENAME TO gone"))
    try:
        yield
    finally:
        with engine.begin() as conn:
            conn.execute(text(f"ALTER TABLE medmirror.gone RENAME TO {table}"))


class Stage:
    """ASGI: whichever application is on now."""

    def __init__(self) -> None:
        self.app: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have it answer."""
        assert self.app is not None
        await self.app(scope, receive, send)


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The address at which *app* answers for as long as a `with` lasts."""
    with serving.listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", server_header=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
