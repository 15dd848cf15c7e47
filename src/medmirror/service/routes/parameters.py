"""What several routes take, and how a list is parted into pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path, Query

from medmirror.service.problems import Problem

SourceName = Annotated[str, Path(pattern="^[a-z][a-z0-9_]{0,31}$", description="cliniko, fhir, ...")]
_ORGANIZATION = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
OrganizationId = Annotated[str, Path(pattern=_ORGANIZATION, description="The organisation.")]
OfOrganization = Annotated[str | None, Query(pattern=_ORGANIZATION, description="Only of this organisation.")]
OfSource = Annotated[str | None, Query(pattern="^[a-z][a-z0-9_]{0,31}$", description="Only of this source.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
Before = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="What the page before gave as `next`.")]
JobState = Literal["queued", "in_progress", "retrying", "succeeded", "skipped", "dead", "cancelled"]


@dataclass(frozen=True)
class Place:
    """A place in the list of jobs."""

    at: datetime | None = None
    job_id: UUID | None = None


def place(text: str | None) -> Place:
    """The place that *text*, a page's ``next``, stands for. Problem 422 when it is none."""
    if text is None:
        return Place()
    stamp, _, number = text.partition("_")
    try:
        at = datetime.fromisoformat(stamp)
        if at.tzinfo is None:
            raise ValueError
        return Place(at, UUID(number))
    except ValueError:
        raise Problem("invalid", "`before` is what the page before gave as `next`.", errors=[]) from None


def text_of(at: datetime, job_id: UUID) -> str:
    """That place as text."""
    return f"{at.isoformat().replace('+00:00', 'Z')}_{job_id}"
