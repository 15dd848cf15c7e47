"""What the headers of an answer say of time: the remote's clock, and when to come again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from medmirror.clock import microseconds
from medmirror.remotes.base import MICROSECOND

UNSAID = 60.0  #: seconds to wait when a 429 does not say
_LEAST, _MOST = 1.0, 86_400.0  # a remote that says less or more is not believed


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
