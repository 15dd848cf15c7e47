"""The status page: organisations and how they are, as plain HTML. No script, nothing from elsewhere, no patient."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from medmirror.service import auth, reading, words
from medmirror.service.auth import COOKIE, service_of
from medmirror.service.chart import DAYS, chart
from medmirror.service.keys import Caller
from medmirror.service.options import Service
from medmirror.service.overview import Seen, see
from medmirror.service.problems import Problem
from medmirror.service.routes.parameters import OrganizationId
from medmirror.version import __version__

router = APIRouter(include_in_schema=False)
_REFRESH = 15  # seconds
_PAGE, _MOST = 100, 5_000  # systems on a page; that are looked at
_RUNS, _LOG = 10, 40
_FIELDS = 10  # of the form; the parser refuses more
_TICKS = timedelta(minutes=5)  # without a look of the scheduler for so long, there is none
_WORST_FIRST = ("failing", "stale", "never", "recovered", "fresh", "paused")
_FROM_HERE = ("same-origin", "none", "")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("medmirror.service"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        span=words.span, number=words.number, step=words.step, progress=words.progress, clock=words.clock, quote=quote
    )
    environment.globals.update(version=__version__, refresh=_REFRESH, states=_WORST_FIRST, days=DAYS)
    return environment


@cache
def _css() -> bytes:
    return files("medmirror.service").joinpath("static", "status.css").read_bytes()


def _page(name: str, service: Service, status: int = 200, **values: Any) -> HTMLResponse:
    now = service.clock.now()
    response = (
        _templates()
        .get_template(name)
        .render(now=now, when=lambda at: words.when(at, now), open_status=service.options.open_status, **values)
    )
    return HTMLResponse(response, status)


@router.get("/static/status.css")
async def css() -> Response:
    """The one style sheet."""
    return Response(_css(), media_type="text/css", headers={"Cache-Control": "max-age=300"})


@router.get("/")
def index(request: Request, page: int = 1) -> Response:
    """All organisations that the visitor may see, those in trouble first."""
    service = service_of(request)
    caller = auth.visitor(request, service)
    if caller is None:
        return RedirectResponse("/login", 303)
    now = service.clock.now()
    with service.engine.connect() as conn:
        seen = sorted(see(conn, caller, now, service.schedule, limit=_MOST), key=_worst_first)
        shared = _shared(conn, service, caller, None)
    page = min(max(1, page), 1 + len(seen) // _PAGE)
    shown = seen[(page - 1) * _PAGE : page * _PAGE]
    return _page(
        "index.html",
        service,
        caller=caller,
        seen=shown,
        total=len(seen),
        badges=Counter(clinic.badge for clinic in seen),
        letters=sum(clinic.dead_letters for clinic in seen),
        running=[clinic for clinic in seen if clinic.job is not None and clinic.job.state == "in_progress"],
        page=page,
        pages=max(1, -(-len(seen) // _PAGE)),
        **shared,
    )


@router.get("/organizations/{organization_id}")
def organization(request: Request, organization_id: OrganizationId) -> Response:
    """One organisation and all of its systems."""
    service = service_of(request)
    caller = auth.visitor(request, service)
    if caller is None:
        return RedirectResponse("/login", 303)
    with service.engine.connect() as conn:
        seen = see(conn, caller, service.clock.now(), service.schedule, organization_id=organization_id)
        if not seen:
            return _page("missing.html", service, 404, caller=caller)
        marks = {system.source: reading.watermarks(conn, organization_id, system.source) for system in seen}
        shared = _shared(conn, service, caller, organization_id)
        last = shared["runs"][0] if shared["runs"] else None
        log = reading.log_lines(conn, last.job_id, _LOG) if last else []
    return _page(
        "organization.html",
        service,
        caller=caller,
        organization_id=organization_id,
        seen=seen,
        marks=marks,
        log=log,
        zone=seen[0].zone,
        **shared,
    )


def _worst_first(clinic: Seen) -> tuple[int, str, str]:
    return _WORST_FIRST.index(clinic.badge), clinic.organization_id, clinic.source


def _shared(conn: Connection, service: Service, caller: Caller, organization_id: str | None) -> dict[str, Any]:
    now = service.clock.now()
    since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    machinery = reading.machinery(conn)
    ticks = machinery.ticked_at is not None and now - machinery.ticked_at < _TICKS
    return {
        "workers": machinery.workers,
        "ticks": ticks or not service.schedule.enabled,
        "chart": chart(reading.days_of(conn, caller, since, organization_id=organization_id), now.date()),
        "groups": reading.groups_of(conn, caller, organization_id=organization_id),
        "runs": reading.jobs_of(conn, caller, organization_id=organization_id, limit=_RUNS),
    }


@router.get("/login")
async def ask_key(request: Request) -> Response:
    """The form that takes a key."""
    return _page("login.html", service_of(request), wrong="")


@router.post("/login")
async def login(request: Request) -> Response:
    """Open a session for the key that the form gives."""
    service = service_of(request)
    if request.headers.get("sec-fetch-site", "") not in _FROM_HERE:
        return _refused(service, 403, "bad-request", "Open this page itself and give the key there.")
    try:
        given = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=_FIELDS)
    except ValueError:
        return _refused(service, 400, "bad-request", f"The form has more than {_FIELDS} fields; give the key alone.")
    token = given.get("key", [""])[0].strip()
    return await run_in_threadpool(_open_session, request, service, token)


def _open_session(request: Request, service: Service, token: str) -> Response:
    try:
        caller = auth.admit(request, service, token)
    except Problem as problem:
        wrong = "This key is not valid." if problem.kind == "key-missing" else problem.detail
        return _refused(service, 401 if problem.kind == "key-missing" else 429, problem.kind, wrong)
    if "read" not in caller.scopes:
        return _refused(service, 403, "scope-missing", "This key may not read; ask for one with the scope read.")
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        auth.open_session(service, caller),
        max_age=service.options.session_seconds,
        httponly=True,
        secure=service.options.secure,
        samesite="strict",
    )
    return answer


def _refused(service: Service, status: int, kind: str, wrong: str) -> Response:
    """The form again, saying what is *wrong*; *kind* is for the audit log."""
    answer = _page("login.html", service, status, wrong=wrong)
    answer.headers["X-Problem"] = kind
    return answer


@router.post("/logout")
async def logout() -> Response:
    """End the session."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
