"""Trigger a sync, see how an organisation is, take a webhook: the three addresses of the documented API."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy import Connection, Engine

from medmirror import jobs
from medmirror.db import retry
from medmirror.model import DEPRECATED_MODES, MODES_BY_REACH, Mode
from medmirror.service import auth, problems, webhooks
from medmirror.service.audit import BRIEFLY
from medmirror.service.auth import Reader, Syncer, not_found, service_of
from medmirror.service.keys import Caller
from medmirror.service.limits import refuse_when_spent
from medmirror.service.options import Service
from medmirror.service.overview import Seen, see
from medmirror.service.problems import Problem
from medmirror.service.reading import JobSeen, LogLine, Watermark, jobs_of, log_lines, watermarks
from medmirror.service.routes.parameters import OrganizationId, SourceName
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization

router = APIRouter(prefix="/api/v1", tags=["sync"], responses=problems.DESCRIBED)

_DEPRECATED_SINCE = "@1767225600"  # 2026-01-01, as RFC 9745 writes it
_RECENT = 10

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern="^[!-~]+$",
        description="The same one again gets the same job, so a request may be sent again after a broken connection.",
    ),
]


@dataclass(frozen=True)
class Triggered:
    """*status*: queued, coalesced (one was waiting already and does this, too), repeated (the idempotency key stands
    for this job) or skipped (a sync succeeded less than 30 minutes ago)."""

    status: Literal["queued", "coalesced", "repeated", "skipped"]
    job: JobSeen
    reason: str | None = None


@dataclass(frozen=True)
class Status:
    """How an organisation's system is. *jobs*: the last ones, with *include_logs* and what they said; newest first."""

    organization: Seen
    watermarks: list[Watermark]
    jobs: list[JobSeen] = field(default_factory=list)
    logs: dict[str, list[LogLine]] = field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """*status*: queued (a sync will run), repeated (this event was taken before) or paused (nothing is fetched)."""

    status: Literal["queued", "repeated", "paused"]


_ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"model": Triggered, "description": "Skipped: it is fresh"},
    202: {"headers": {"Location": {"description": "The job", "schema": {"type": "string"}}}},
}


def visible(conn: Connection, caller: Caller, organization_id: str, source: str) -> Organization:
    """That organisation's system, if *caller* may see it; the one Problem 404 otherwise."""
    clinic = organizations.get(conn, organization_id, source) if caller.sees(organization_id) else None
    if clinic is None:
        raise not_found()
    return clinic


@router.post("/{source}/sync/{organization_id}", status_code=202, response_model=Triggered, responses=_ANSWERS)
def trigger(
    request: Request,
    response: Response,
    caller: Syncer,
    source: SourceName,
    organization_id: OrganizationId,
    mode: Annotated[Mode, Query(description="basic and patients-only are deprecated.")] = "incremental",
    force_full: Annotated[bool, Query(description="Fetch everything, fresh or not.")] = False,
    idempotency_key: Key = None,
) -> Triggered:
    """Have an organisation synchronised: 202 with the job, 409 while one runs, 200 when it is fresh (< 30 minutes)."""
    service = service_of(request)
    with service.engine.connect() as conn:
        clinic = visible(conn, caller, organization_id, source)
    if clinic.paused_at is not None:
        raise Problem("not-possible", "The organisation is paused; POST to its /resume first.")
    wanted = jobs.Request(
        organization_id, source, mode=mode, force_full=force_full, trigger="api", idempotency_key=idempotency_key
    )
    asked = jobs.submit(service.engine, service.queue, wanted, service.clock.now())
    if mode in DEPRECATED_MODES:
        response.headers["Deprecation"] = _DEPRECATED_SINCE
        response.headers["Warning"] = f'299 - "mode {mode} is deprecated; use incremental"'
    return _answer(response, asked, wanted)


def _answer(response: Response, asked: jobs.Submission, wanted: jobs.Request) -> Triggered:
    location = f"/api/v1/jobs/{asked.job.job_id}"
    response.headers["Location"] = location
    job = JobSeen.of(asked.job)
    if asked.outcome == "running":
        detail = "Wait until it has ended, or look at it."
        raise Problem("sync-running", detail, {"Location": location, "Retry-After": "30"}, job_id=str(job.job_id))
    if asked.outcome == "repeated" and not _covers(asked.job, wanted):
        raise Problem("key-reused", "Take a new Idempotency-Key for another request.", errors=[])
    if asked.outcome == "fresh" or asked.job.state == "skipped":
        response.status_code = 200
        return Triggered("skipped", job, asked.job.message)
    return Triggered(asked.outcome, job)


def _covers(job: jobs.Job, wanted: jobs.Request) -> bool:
    """Whether *job* does what is *wanted*: it may do more, since other requests may have joined it."""
    wide = MODES_BY_REACH.index(job.mode) >= MODES_BY_REACH.index(wanted.mode)
    return wide and (job.force_full or not wanted.force_full)


@router.get("/{source}/status/{organization_id}", response_model=Status)
def status(
    request: Request,
    caller: Reader,
    source: SourceName,
    organization_id: OrganizationId,
    include_logs: Annotated[bool, Query(description="With the last jobs and what they said.")] = False,
) -> Status:
    """How current an organisation is, what runs, how far its lists have been read, and what could not be done."""
    service = service_of(request)
    with service.engine.connect() as conn:
        visible(conn, caller, organization_id, source)
        seen = see(
            conn, caller, service.clock.now(), service.schedule, organization_id=organization_id, source=source, limit=1
        )
        if not seen:
            raise not_found()
        recent = jobs_of(conn, caller, organization_id=organization_id, source=source, limit=_RECENT)
        logs = {str(job.job_id): log_lines(conn, job.job_id) for job in recent} if include_logs else {}
        return Status(seen[0], watermarks(conn, organization_id, source), recent, logs)


@router.post("/{source}/webhooks/{organization_id}", status_code=202, response_model=Taken)
async def webhook(
    request: Request,
    source: SourceName,
    organization_id: OrganizationId,
    webhook_id: Annotated[str, Header(max_length=255)] = "",
    webhook_timestamp: Annotated[str, Header(max_length=12)] = "",
    webhook_signature: Annotated[str, Header(max_length=1000)] = "",
) -> Taken:
    """Be told that something has changed: a sync is queued. Signed as the Standard Webhooks specification has it, with
    the organisation's webhook secret; no key. What the body says is not believed."""
    from starlette.concurrency import run_in_threadpool

    sent = webhooks.Sent(webhook_id, webhook_timestamp, webhook_signature, await request.body())
    return await run_in_threadpool(_take, request, source, organization_id, sent)


def _take(request: Request, source: str, organization_id: str, sent: webhooks.Sent) -> Taken:
    service = service_of(request)
    now = service.clock.now()
    with service.engine.connect() as conn:
        clinic = organizations.get(conn, organization_id, source)
        if clinic is None or not webhooks.is_genuine(clinic, sent, now):
            if clinic is None:
                webhooks.is_genuine(None, sent, now)
            service.metrics.webhooks.labels("refused").inc()
            auth.stranger(request, service)
            raise Problem(
                "signature-refused", "Sign id.timestamp.body with the webhook secret, at the time of sending."
            )
        taken = webhooks.was_taken(conn, clinic, sent.event)
    request.state.key_id = "webhook"
    refuse_when_spent(service.callers, f"webhook {clinic.number}", auth.seconds(service))
    outcome = _follow(service, clinic, sent.event, now, taken)
    service.metrics.webhooks.labels(outcome).inc()
    return Taken(outcome)


def _follow(
    service: Service, clinic: Organization, event: str, now: datetime, taken: bool
) -> Literal["queued", "repeated", "paused"]:
    if taken:
        return "repeated"
    if clinic.paused_at is None:
        wanted = jobs.Request(
            clinic.organization_id, clinic.source, trigger="webhook", idempotency_key=webhooks.idempotency_key(event)
        )
        asked = jobs.submit(service.engine, service.queue, wanted, now)
        if asked.outcome == "repeated":
            return "repeated"
    # Only now: an event that is remembered before it has been followed would be lost if we died in between.
    _remember(service.engine, clinic, event, now)
    return "queued" if clinic.paused_at is None else "paused"


def _remember(engine: Engine, clinic: Organization, event: str, now: datetime) -> None:
    retry.in_transaction(engine, lambda conn: webhooks.remember(conn, clinic, event, now), policy=BRIEFLY)
