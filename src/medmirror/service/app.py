"""The service put together: API, webhooks, metrics and the status page, as one ASGI application."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.middleware import Middleware

from medmirror.clock import SYSTEM, Clock
from medmirror.jobs.queue import Queue
from medmirror.service import problems
from medmirror.service.audit import Audit
from medmirror.service.headers import Envelope
from medmirror.service.limits import Buckets, Size
from medmirror.service.methods import Head
from medmirror.service.metrics import Metrics
from medmirror.service.options import Options, Service
from medmirror.service.problems import Guard
from medmirror.service.routes import books, machine, status, sync, systems
from medmirror.settings import Settings
from medmirror.version import __version__

_ABOUT = """Keep practice systems' records in step, and see how that goes. Refusals are problem+json (RFC 9457).
Keys: `Authorization: Bearer mm_...`; what a key may not see answers as what does not exist."""


def create(
    engine: Engine, queue: Queue, settings: Settings, clock: Clock = SYSTEM, options: Options | None = None
) -> FastAPI:
    """The application. *engine* should give up a statement after some seconds; its pool bounds how many requests are
    at the database at once. Rate limits are this process's own."""
    settled = options or Options()
    service = Service(
        engine=engine,
        queue=queue,
        settings=settings,
        clock=clock,
        options=settled,
        schedule=settled.schedule,
        session_key=settled.session_secret or secrets.token_bytes(32),
        callers=Buckets(settled.rate, settled.burst),
        strangers=Buckets(settled.failures, settled.failure_burst),
        metrics=Metrics(),
    )
    app = FastAPI(
        title="medmirror",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=_around(service),
    )
    app.state.service = service
    problems.install(app)
    app.state.addresses = list(app.routes)
    for part in (machine, systems, books, sync, status):
        app.include_router(part.router)
        app.state.addresses += part.router.routes
    app.openapi = _documented(app)  # type: ignore[method-assign]  # FastAPI's own way to have it
    return app


def _documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """What gives the OpenAPI document of *app*: made when it is first asked for, which takes a while."""
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            problems.describe(generate())
        assert app.openapi_schema is not None
        return app.openapi_schema

    return document


def _around(service: Service) -> list[Middleware]:
    """What each request passes on its way in, outermost first."""
    options = service.options
    return [
        Middleware(Envelope, service.metrics.answered, options.hosts, options.secure),
        Middleware(Audit, service.engine, service.clock, options.audit_days, options.audit_strangers),
        Middleware(Size, options.body_bytes, options.headers, options.body_seconds),
        Middleware(Guard),
        Middleware(Head),
    ]
