"""Webhooks: whether one is really from the organisation's system, and whether it was taken before. Its body is never
believed: a valid one only says that there is something to fetch.

Signed as the Standard Webhooks specification has it: ``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256
over ``id.timestamp.body``. Several may stand there, parted by spaces, while the secret is changed. That the event's id
is signed, too, is what keeps an old one from being sent again under a new id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection

from medmirror.db import sql
from medmirror.errors import UsageError
from medmirror.sync.organizations import Organization, read_secret

TOLERANCE = timedelta(seconds=300)
_KEPT = 4 * TOLERANCE  # a sender's clock may be ahead by the tolerance, and then the event is in time for twice that
_MOST = 5  # signatures that are looked at
_NONE = secrets.token_bytes(32)  # what is compared with where there is no secret, so that the answer takes as long

_log = logging.getLogger(__name__)
_statement = partial(sql.statement, "service.sql")


class Sent(NamedTuple):
    """The parts of a webhook that are signed, and its signatures."""

    event: str
    timestamp: str
    signatures: str
    body: bytes


def key_of(secret: str) -> bytes:
    """The bytes to sign with: of ``whsec_`` and base64, or of the text as it is."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:  # binascii.Error is one; text that is not ASCII is another
        key = b""
    if not key:  # with no key anybody can sign
        raise UsageError("A webhook secret that begins with whsec_ goes on in base64.")
    return key


def sign(key: bytes, event: str, timestamp: str, body: bytes) -> str:
    """The signature of a webhook, as its header has it."""
    signed = b".".join((event.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def is_genuine(clinic: Organization | None, sent: Sent, now: datetime) -> bool:
    """Whether *sent* was signed with *clinic*'s secret at most ``TOLERANCE`` from *now*. Of unknown organisations, and
    those without a secret, nothing is; that takes as long to say."""
    key = _NONE
    genuine = False
    if clinic is not None and clinic.webhook_secret is not None:
        try:
            secret = read_secret(clinic.webhook_secret)
            key, genuine = (key_of(secret.reveal()), True) if secret else (_NONE, False)
        except UsageError as error:  # ours to mend; the sender must not learn where our secrets are
            _log.error("webhooks of %s, %s are refused: %s", clinic.organization_id, clinic.source, error.message)
    right = sign(key, sent.event, sent.timestamp, sent.body).encode()
    given = sent.signatures.encode("utf-8", "replace").split(b" ")[:_MOST]
    same = sum(hmac.compare_digest(right, each) for each in given) > 0  # not any(): all of them are compared
    return genuine and same and bool(sent.event) and _in_time(sent.timestamp, now)


def _in_time(timestamp: str, now: datetime) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    return abs(now.timestamp() - int(timestamp)) <= TOLERANCE.total_seconds()


def _values(clinic: Organization, event: str) -> dict[str, Any]:
    digest = hashlib.sha256(event.encode()).digest()
    return {**clinic.key, "event": digest}


def idempotency_key(event: str) -> str:
    """What makes the job of *event* the same one when two of it come at the same moment."""
    return "webhook " + hashlib.sha256(event.encode()).hexdigest()


def was_taken(conn: Connection, clinic: Organization, event: str) -> bool:
    """Whether *event* of *clinic* was taken before."""
    return bool(conn.execute(_statement("event known"), _values(clinic, event)).scalar())


def remember(conn: Connection, clinic: Organization, event: str, now: datetime) -> None:
    """Note that *event* of *clinic* was taken; forget those whose signature would be too old by now."""
    conn.execute(_statement("remember event"), {**_values(clinic, event), "now": now})
    conn.execute(_statement("forget events"), {"before": now - _KEPT})
