"""For those who watch over it: alive, ready, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request, Response
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from medmirror.db import migrate
from medmirror.errors import StoreError
from medmirror.service import metrics, problems
from medmirror.service.auth import Scraper, service_of
from medmirror.service.overview import see
from medmirror.service.problems import Problem

router = APIRouter(tags=["machine"])
_MOST = 10_000  # organisations that are told of


@dataclass(frozen=True)
class Alive:
    """The process answers, or the service is ready."""

    status: Literal["ok"] = "ok"


@router.get("/health", response_model=Alive)
async def health() -> Alive:
    """The process lives. Says nothing of the database: a restart would not mend that."""
    return Alive()


@router.get("/ready", response_model=Alive, responses={503: problems.DESCRIBED[503]})
def ready(request: Request) -> Alive:
    """The database can be reached and its tables are those that this version works with."""
    why = _hindrance(service_of(request).engine)
    if why is not None:
        raise Problem("not-ready", why, {"Retry-After": "5"})
    return Alive()


def _hindrance(engine: Engine) -> str | None:
    try:
        return (
            "The tables are of an older version; start medmirror once to bring them up."
            if migrate.pending(engine)
            else None
        )
    except StoreError as error:
        return type(error).__doc__ or "The database cannot be used."
    except DBAPIError:
        return "The database cannot be reached."


@router.get(
    "/metrics",
    response_class=Response,
    responses={**problems.DESCRIBED, 200: {"content": {metrics.CONTENT_TYPE: {"schema": {"type": "string"}}}}},
)
def scrape(request: Request, caller: Scraper) -> Response:
    """Counters of this process, and how the organisations of the key are, in Prometheus' text format."""
    service = service_of(request)
    with service.engine.connect() as conn:
        seen = see(conn, caller, service.clock.now(), service.schedule, limit=_MOST)
        body = metrics.page(service.metrics, conn, seen, caller.scope_values(), service.clock.now())
    return Response(body, media_type=metrics.CONTENT_TYPE)
