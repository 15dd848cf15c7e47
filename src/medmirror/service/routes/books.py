"""Jobs, runs and dead letters: lists newest first, by pages, and each alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from fastapi import APIRouter, Query, Request

from medmirror.jobs import deadletters
from medmirror.jobs.deadletters import requeueing
from medmirror.service import problems, reading
from medmirror.service.auth import Reader, Syncer, about, not_found, service_of
from medmirror.service.problems import Problem
from medmirror.service.reading import JobSeen, LetterSeen, LogLine, RunSeen
from medmirror.service.routes.parameters import (
    Before,
    JobState,
    Limit,
    Number,
    OfOrganization,
    OfSource,
    place,
    text_of,
)

T = TypeVar("T", JobSeen, RunSeen, LetterSeen)

router = APIRouter(prefix="/api/v1", responses=problems.DESCRIBED)
LetterState = Literal["open", "requeued", "resolved", "ignored"]


@dataclass(frozen=True)
class Jobs:
    """A page of jobs; *next*: what to give as `before` for the page after; null: this was the last."""

    items: list[JobSeen]
    next: str | None


@dataclass(frozen=True)
class JobWithLog:
    """A job and what it said."""

    job: JobSeen
    log: list[LogLine]


@dataclass(frozen=True)
class Runs:
    """A page of runs."""

    items: list[RunSeen]
    next: int | None


@dataclass(frozen=True)
class Letters:
    """A page of dead letters."""

    items: list[LetterSeen]
    next: int | None


@dataclass(frozen=True)
class Requeued:
    """*outcome*: queued (done again as *job_id*), resolved (its record is loaded) or failed (it was refused again)."""

    dead_letter_id: int
    outcome: str
    job_id: UUID | None


@router.get("/jobs", tags=["jobs"], response_model=Jobs)
def list_jobs(
    request: Request,
    caller: Reader,
    organization_id: OfOrganization = None,
    source: OfSource = None,
    state: JobState | None = None,
    limit: Limit = 50,
    before: Annotated[str | None, Query(max_length=100, description="What the page before gave as `next`.")] = None,
) -> Jobs:
    """Jobs, newest first."""
    last = place(before)
    with service_of(request).engine.connect() as conn:
        jobs = reading.jobs_of(
            conn,
            caller,
            organization_id=organization_id,
            source=source,
            state=state,
            before=last.at,
            before_id=last.job_id,
            limit=limit,
        )
    return Jobs(jobs, text_of(jobs[-1].created_at, jobs[-1].job_id) if len(jobs) == limit else None)


def _only(request: Request, matching: Sequence[T]) -> T:
    """What was asked for by its number, noted for the audit log; the one Problem 404 when the caller may see none."""
    if not matching:
        raise not_found()
    about(request, matching[0].organization_id, matching[0].source)
    return matching[0]


@router.get("/jobs/{job_id}", tags=["jobs"], response_model=JobWithLog)
def show_job(request: Request, caller: Reader, job_id: UUID) -> JobWithLog:
    """A job, how far it is, how it ended, and what it said."""
    with service_of(request).engine.connect() as conn:
        matching = reading.jobs_of(conn, caller, job_id=job_id, limit=1)
        return JobWithLog(_only(request, matching), reading.log_lines(conn, job_id))


@router.get("/runs", tags=["runs"], response_model=Runs)
def list_runs(
    request: Request,
    caller: Reader,
    organization_id: OfOrganization = None,
    limit: Limit = 50,
    before: Before = None,
) -> Runs:
    """Runs, newest first. Those that belong to no organisation are for keys of all organisations."""
    with service_of(request).engine.connect() as conn:
        runs = reading.runs_of(conn, caller, organization_id=organization_id, before=before, limit=limit)
    return Runs(runs, runs[-1].run_id if len(runs) == limit else None)


@router.get("/runs/{run_id}", tags=["runs"], response_model=RunSeen)
def show_run(request: Request, caller: Reader, run_id: Number) -> RunSeen:
    """A run."""
    with service_of(request).engine.connect() as conn:
        matching = reading.runs_of(conn, caller, run_id=run_id, limit=1)
    return _only(request, matching)


@router.get("/dead-letters", tags=["dead letters"], response_model=Letters)
def list_letters(
    request: Request,
    caller: Reader,
    organization_id: OfOrganization = None,
    source: OfSource = None,
    state: LetterState | None = None,
    limit: Limit = 50,
    before: Before = None,
) -> Letters:
    """What was given up, newest first. Never the record itself: that is in the database, for those who may see it."""
    with service_of(request).engine.connect() as conn:
        letters = reading.letters_of(
            conn, caller, organization_id=organization_id, source=source, state=state, before=before, limit=limit
        )
    return Letters(letters, letters[-1].dead_letter_id if len(letters) == limit else None)


@router.get("/dead-letters/{dead_letter_id}", tags=["dead letters"], response_model=LetterSeen)
def show_letter(request: Request, caller: Reader, dead_letter_id: Number) -> LetterSeen:
    """A dead letter."""
    with service_of(request).engine.connect() as conn:
        matching = reading.letters_of(conn, caller, dead_letter_id=dead_letter_id, limit=1)
    return _only(request, matching)


@router.post("/dead-letters/{dead_letter_id}/requeue", tags=["dead letters"], status_code=202, response_model=Requeued)
def requeue(request: Request, caller: Syncer, dead_letter_id: Number) -> Requeued:
    """Have the letter's job done again, or its record loaded again. 409 when somebody has dealt with it before."""
    service = service_of(request)
    with service.engine.connect() as conn:
        matching = reading.letters_of(conn, caller, dead_letter_id=dead_letter_id, limit=1)
    if _only(request, matching).state != "open":
        raise Problem("not-possible", "Only an open letter is requeued.")
    chosen = deadletters.Selection(ids=[dead_letter_id])
    outcomes = requeueing.requeue(service.engine, service.queue, chosen, service.clock.now(), settings=service.settings)
    if not outcomes or outcomes[0].outcome == "refused":
        raise Problem("not-possible", "It is not open any more, or its organisation is paused.")
    return Requeued(dead_letter_id, outcomes[0].outcome, outcomes[0].job_id)
