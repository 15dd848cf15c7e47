"""Organisations: who is kept in step, how often, and whether at the moment.

Where a system is, with which key, and who else gets its records is set by the command line alone. Otherwise a key that
may change one clinic's address could name another clinic's secret (or the database's own password file) there, and have
it sent to a server of its own.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import ConfigDict, Field

from medmirror.db import retry, sql
from medmirror.service import problems
from medmirror.service.audit import BRIEFLY
from medmirror.service.auth import Admin, Reader, not_found, service_of
from medmirror.service.keys import Caller
from medmirror.service.overview import Seen, see
from medmirror.service.problems import Problem
from medmirror.service.routes.parameters import Limit, OrganizationId, SourceName
from medmirror.service.routes.sync import visible
from medmirror.sync import organizations

_statement = partial(sql.statement, "service.sql")
router = APIRouter(prefix="/api/v1/organizations", tags=["organizations"], responses=problems.DESCRIBED)
_AFTER = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}~[a-z][a-z0-9_]{0,31}$"


@dataclass(frozen=True)
class Systems:
    """A page of organisations' systems; *next*: what to give as `after` for the next one; null: this was the last."""

    items: list[Seen]
    next: str | None


@dataclass(frozen=True)
class Window:
    """At most *requests* in *seconds*."""

    requests: Annotated[int, Field(ge=1, le=1_000_000)]
    seconds: Annotated[int, Field(ge=1, le=86_400)]


@dataclass(frozen=True)
class Change:
    """What of an organisation can be set here. *windows*: its rate budget; null: the remote's own."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    zone: Annotated[str, Field(max_length=64, description="IANA time zone of its days and business hours.")]
    tier: Literal["realtime", "standard", "economy"] = "standard"
    window_back: Annotated[int, Field(ge=0, le=3650, description="Days of appointments kept in view.")] = 7
    window_ahead: Annotated[int, Field(ge=0, le=3650)] = 30
    windows: Annotated[list[Window] | None, Field(max_length=10)] = None


@dataclass(frozen=True)
class Why:
    """Why nothing is to be fetched for now; for people, so no name of a patient."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    why: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] = field(default="by API")


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


@router.get("", response_model=Systems)
def every(
    request: Request,
    caller: Reader,
    limit: Limit = 50,
    after: Annotated[str | None, Query(pattern=_AFTER, description="What the page before gave as `next`.")] = None,
) -> Systems:
    """The organisations that the key may see."""
    service = service_of(request)
    organization_id, _, source = (after or "").partition("~")
    place = (organization_id, source) if after else None
    with service.engine.connect() as conn:
        systems = see(conn, caller, service.clock.now(), service.schedule, after=place, limit=limit)
    last = f"{systems[-1].organization_id}~{systems[-1].source}" if len(systems) == limit else None
    return Systems(systems, last)


@router.get("/{organization_id}/{source}", response_model=Seen)
def show(request: Request, caller: Reader, organization_id: OrganizationId, source: SourceName) -> Seen:
    """One of them."""
    return _seen(request, caller, organization_id, source)


@router.put("/{organization_id}/{source}", response_model=Seen)
def put(request: Request, caller: Admin, organization_id: OrganizationId, source: SourceName, change: Change) -> Seen:
    """Change how often and how much of it is fetched. Where it is, and its secret, are set by the command line."""
    if change.zone not in _zones():
        raise Problem("invalid", "zone is an IANA time zone, for example Australia/Sydney.", errors=[])
    service = service_of(request)
    with service.engine.connect() as conn:
        visible(conn, caller, organization_id, source)
    windows = None if change.windows is None else [[each.requests, each.seconds] for each in change.windows]
    values = {
        "organization_id": organization_id,
        "source": source,
        "zone": change.zone,
        "tier": change.tier,
        "window_back": change.window_back,
        "window_ahead": change.window_ahead,
        "windows": None if windows is None else orjson.dumps(windows).decode(),
    }
    retry.in_transaction(service.engine, lambda conn: conn.execute(_statement("set how often"), values), policy=BRIEFLY)
    return _seen(request, caller, organization_id, source)


@router.post("/{organization_id}/{source}/pause", response_model=Seen)
def pause(
    request: Request,
    caller: Admin,
    organization_id: OrganizationId,
    source: SourceName,
    body: Why | None = None,
) -> Seen:
    """Have nothing fetched for it until it is resumed."""
    return _paused(request, caller, organization_id, source, (body or Why()).why)


@router.post("/{organization_id}/{source}/resume", response_model=Seen)
def resume(request: Request, caller: Admin, organization_id: OrganizationId, source: SourceName) -> Seen:
    """Go on with it."""
    return _paused(request, caller, organization_id, source, None)


def _paused(request: Request, caller: Caller, organization_id: str, source: str, why: str | None) -> Seen:
    service = service_of(request)
    with service.engine.connect() as conn:
        clinic = visible(conn, caller, organization_id, source)
    organizations.pause(service.engine, clinic, why)
    return _seen(request, caller, organization_id, source)


def _seen(request: Request, caller: Caller, organization_id: str, source: str) -> Seen:
    service = service_of(request)
    with service.engine.connect() as conn:
        if not caller.sees(organization_id):
            raise not_found()
        systems = see(
            conn, caller, service.clock.now(), service.schedule, organization_id=organization_id, source=source, limit=1
        )
    if not systems:
        raise not_found()
    return systems[0]
