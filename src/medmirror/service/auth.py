"""Who may do what: keys in the Authorization header for the API, signed sessions for the status page."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from medmirror.service import keys
from medmirror.service.keys import Caller
from medmirror.service.limits import refuse_when_spent
from medmirror.service.options import Service
from medmirror.service.problems import Problem

COOKIE = "medmirror_session"
_bearer = HTTPBearer(auto_error=False, description="An API key, mm_..., as `medmirror keys add` prints it.")
_SESSION = re.compile(r"([a-z2-7]{12})\.(\d{1,12})\.([0-9a-f]{64})")
_EVERYBODY = Caller("", "loopback", frozenset({"read"}), None)


def service_of(request: Request) -> Service:
    """What the application works with."""
    return cast(Service, request.app.state.service)


def address_of(request: Request) -> str:
    """Where the request comes from, as far as we or a proxy in front know."""
    return request.client.host if request.client else "unknown"


def about(request: Request, organization_id: str | None, source: str | None) -> None:
    """Note whom the request turned out to be about, for the audit log; its address does not say."""
    request.state.organization_id, request.state.source = organization_id, source


def seconds(service: Service) -> float:
    """The time, as buckets take it."""
    return service.clock.now().timestamp()


def stranger(request: Request, service: Service) -> None:
    """Count a failure of the request's address; Problem 429 when it has had too many."""
    refuse_when_spent(service.strangers, address_of(request), seconds(service))


def admit(request: Request, service: Service, token: str) -> Caller:
    """The caller of *token*; Problem 401 when it is not valid, 429 when it (or its address) asks too often."""
    with service.engine.connect() as conn:
        key = keys.find(conn, token, service.clock.now())
    if key is None:
        stranger(request, service)
        raise Problem(
            "key-missing",
            "Send a key as `Authorization: Bearer mm_...`; an operator makes one with `medmirror keys add`.",
            {"WWW-Authenticate": 'Bearer realm="medmirror"'},
        )
    request.state.key_id = key.key_id
    refuse_when_spent(service.callers, key.key_id, seconds(service))
    return key


def allowed(scope: str) -> Callable[..., Caller]:
    """A dependency: the caller, if its key has *scope* (Problem 403 otherwise)."""

    def check(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Caller:
        caller = admit(request, service_of(request), credentials.credentials if credentials else "")
        if scope not in caller.scopes:
            raise Problem("scope-missing", f"This needs a key with the scope {scope}.")
        return caller

    return check


Reader = Annotated[Caller, Depends(allowed("read"))]
Syncer = Annotated[Caller, Depends(allowed("sync"))]
Admin = Annotated[Caller, Depends(allowed("admin"))]
Scraper = Annotated[Caller, Depends(allowed("metrics"))]


def not_found() -> Problem:
    """The one answer for what does not exist and for what this key may not see."""
    return Problem("not-found", "Check the organisation, the source and the number, and what the key is for.")


def _signature(service: Service, caller: Caller, until: int) -> str:
    # The key's own digest takes part: a session ends with the key that opened it, and with its rotation.
    text = f"{caller.key_id}.{until}".encode()
    return hmac.new(service.session_key + caller.digest, text, hashlib.sha256).hexdigest()


def open_session(service: Service, caller: Caller) -> str:
    """The value of a cookie that stands for *caller* for as long as the options say."""
    until = int(seconds(service)) + service.options.session_seconds
    return f"{caller.key_id}.{until}.{_signature(service, caller, until)}"


def visitor(request: Request, service: Service) -> Caller | None:
    """Who looks at the status page: everybody where it is open, else the key of a valid session; None: nobody."""
    if service.options.open_status:
        return _EVERYBODY
    match = _SESSION.fullmatch(request.cookies.get(COOKIE, ""))
    if match is None or int(match[2]) <= seconds(service):
        return None
    with service.engine.connect() as conn:
        key = keys.by_id(conn, match[1], service.clock.now())
    if key is None or not hmac.compare_digest(_signature(service, key, int(match[2])), match[3]):
        return None
    request.state.key_id = key.key_id
    return key if "read" in key.scopes else None
