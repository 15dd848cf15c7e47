"""Every refusal as problem+json (RFC 9457): a kind, a title, a status and what to do; never an internal or a value."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmirror.db import retry
from medmirror.errors import MedmirrorError, StoreError, UsageError
from medmirror.service import methods

MEDIA_TYPE = "application/problem+json"
_CANCELED = "57014"  # by statement_timeout
_log = logging.getLogger(__name__)

KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be read"),
    "key-missing": (401, "A valid API key is needed"),
    "signature-refused": (401, "The webhook's signature was not accepted"),
    "scope-missing": (403, "The key may not do this"),
    "not-found": (404, "There is no such thing, or this key may not see it"),
    "method-not-allowed": (405, "The address does not know this method"),
    "too-slow": (408, "The request did not come in time"),
    "sync-running": (409, "A sync of this organisation runs"),
    "not-possible": (409, "It is not in a state in which this can be done"),
    "too-large": (413, "The request's body is too large"),
    "invalid": (422, "A part of the request is not as it should be"),
    "key-reused": (422, "The Idempotency-Key was used for another request"),
    "too-many": (429, "Too many requests"),
    "headers-too-many": (431, "The request has too many headers"),
    "internal": (500, "Something went wrong in here"),
    "unavailable": (503, "The database cannot be reached"),
    "not-ready": (503, "Not ready"),
}
"""Kind -> status and title. The kind is the last part of the problem's type, and the outcome in the audit log."""


class Problem(Exception):
    """A refusal of *kind*; *more* are further members of the document."""

    def __init__(self, kind: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(kind)
        self.kind, self.detail, self.headers, self.more = kind, detail, headers or {}, more


@dataclass(frozen=True)
class ProblemDocument:
    """What a refusal looks like; see RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)


DESCRIBED: dict[int | str, dict[str, Any]] = {
    status: {
        "model": ProblemDocument,
        "description": HTTPStatus(status).phrase,
    }
    for status in (400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 431, 500, 503)
}
"""For the OpenAPI document: what any operation may answer."""


def response(kind: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """The answer for a refusal of *kind*."""
    status, title = KINDS[kind]
    document = {"type": f"urn:medmirror:problem:{kind}", "title": title, "status": status, "detail": detail, **more}
    return Response(orjson.dumps(document), status, {**(headers or {}), "X-Problem": kind}, MEDIA_TYPE)


def of_error(error: BaseException) -> Response:
    """The answer for an *error* that nothing else has answered. Logged by class alone: its text may quote a record."""
    if isinstance(error, Problem):
        return response(error.kind, error.detail, error.headers, **error.more)
    if isinstance(error, UsageError):
        return response("invalid", error.message, errors=[])
    code = retry.sqlstate_of(error)
    if (
        isinstance(error, StoreError | PoolTimeout)
        or code == _CANCELED
        or retry.is_lost_connection(error)
        or retry.is_lost_race(error)
    ):
        _log.warning("answered 503: %s, sqlstate %s", type(error).__name__, code)
        return response(
            "unavailable", "Try again in a moment; if it stays so, look at the database.", {"Retry-After": "5"}
        )
    _log.error("answered 500: %s, sqlstate %s, at %s", type(error).__name__, code, _place(error))
    return response("internal", "It was logged; the request may be tried again.")


def _place(error: BaseException) -> str:
    """File and line where *error* was raised, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "nowhere" if trace is None else f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Neither the value that was sent nor what the check wanted it for: only where, and in what way it is wrong.
    errors = [
        {"where": ".".join(str(part) for part in problem["loc"]), "what": problem["msg"]} for problem in error.errors()
    ]
    if any(problem["type"] == "json_invalid" for problem in error.errors()):
        return response("bad-request", "The body is not JSON.")
    return response("invalid", "See errors for each place.", errors=errors)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status_code, "bad-request")
    detail = {
        "not-found": "Look at /openapi.json for the addresses that there are.",
        "method-not-allowed": "The Allow header names the methods that it knows.",
    }.get(kind, "The request could not be read.")
    headers = dict(error.headers or {})
    if kind == "method-not-allowed":  # the first route that knows the address names its own alone
        headers["Allow"] = ", ".join(methods.of_address(request.app.state.addresses, request.scope))
    return response(kind, detail, headers)


def install(app: FastAPI) -> None:
    """Have *app* answer its own refusals so."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (Problem, MedmirrorError, DBAPIError):
        app.add_exception_handler(kind, lambda request, error: of_error(error))


def describe(document: dict[str, Any]) -> None:
    """Have the OpenAPI *document* name problem+json alone for refusals; FastAPI adds its own form to each."""
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    answer["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}


class Guard:
    """ASGI: whatever escapes becomes a 500 without a word of what it was."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and answer for what is raised, unless the answer has begun."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:  # the last place that can keep its text to ourselves
            if begun or scope["type"] != "http":
                raise
            await of_error(error)(scope, receive, send)
