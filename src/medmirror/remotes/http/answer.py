"""The answer of a remote over HTTP: what its headers say of time and limits, and which addresses may be followed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson

from medmirror.clock import microseconds
from medmirror.errors import RemoteUnavailable, UsageError
from medmirror.remotes.base import MICROSECOND

_WORD = re.compile(r"[$_a-z][A-Za-z_-]{0,39}|v\d{1,2}|", re.ASCII)
_TYPE = re.compile(r"[A-Z][A-Za-z]{2,39}", re.ASCII)  # of FHIR: what follows it is an id, which may be any word
_PORTS = {"http": 80, "https": 443}
UNSAID = 60.0  #: seconds to wait when a 429 does not say
_LEAST, _MOST = 1.0, 86_400.0  # a remote that says less or more is not believed


@dataclass(frozen=True, slots=True)
class Answer:
    """What a remote answered: *headers* by lower-case name; *path* as it may be shown. Its repr has no body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    path: str

    @property
    def date(self) -> int | None:
        """The remote's clock, in microseconds; None when it does not say."""
        return date_of(self.headers)

    def json(self) -> Any:
        """The body, as JSON. RemoteUnavailable when it is none: a page of a proxy, or half a document."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            failure = RemoteUnavailable(
                "The remote's answer is no whole JSON document.", status=self.status, path=self.path
            )
        raise failure


def shown(path: str) -> str:
    """*path* as it may stand in an error or a log: a star for each part that may be the id of somebody."""
    parts = path.split("/")
    kept = []
    for before, part in zip(["", *parts], parts, strict=False):
        plain = _WORD.fullmatch(part) and (part[:1] in ("", "$", "_") or not _TYPE.fullmatch(before))
        kept.append(part if plain or _TYPE.fullmatch(part) else "*")
    return "/".join(kept)


def base(url: str) -> SplitResult:
    """*url*, checked: https, or http to this very machine; no user, password, query or fragment. UsageError."""
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.scheme not in _PORTS:
        raise UsageError("The address of a remote is an https:// URL, for example https://api.example.org/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError("The address of a remote holds no user, password, query or fragment; secrets go elsewhere.")
    if parts.scheme == "http" and not loopback(parts.hostname or ""):
        raise UsageError("The address of a remote must begin with https://; http:// is for this very machine alone.")
    return parts


def loopback(host: str) -> bool:
    """Whether *host* is this very machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def origin(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port: what two addresses share when a secret for one may be sent to the other."""
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)


def date_of(headers: Mapping[str, str]) -> int | None:
    """The remote's clock by the Date header, in microseconds (whole seconds); None when it says nothing."""
    return date_in(headers.get("date", ""))


def wait_of(headers: Mapping[str, str]) -> float:
    """The seconds that a 429 wants us to wait: Retry-After (seconds or a date), or X-RateLimit-Reset (seconds since
    1970). Dates are taken against the remote's own clock, which may not agree with ours."""
    return min(_MOST, max(_LEAST, _said(headers)))


def _said(headers: Mapping[str, str]) -> float:
    now = date_of(headers)
    after = headers.get("retry-after", "").strip()
    if (seconds := _number(after)) is not None:
        return seconds
    then = date_in(after) if after else None
    if then is None and (reset := _number(headers.get("x-ratelimit-reset", "").strip())) is not None:
        then = int(reset) * MICROSECOND
    if then is None or now is None:
        return UNSAID
    return (then - now) / MICROSECOND


def _number(text: str) -> float | None:
    return float(text) if len(text) < 16 and text.replace(".", "", 1).isdecimal() and text.isascii() else None


def date_in(text: str) -> int | None:
    """The time that *text* names as a header writes a date, in microseconds; None when it names none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
