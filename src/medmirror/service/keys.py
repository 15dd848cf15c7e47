"""API keys: made, found, rotated, revoked. The token ``mm_<id>_<secret>`` is shown once; the table keeps its digest.

The digest is plain SHA-256 over salt and secret. A slow hash (scrypt) makes guessing a password dear, because people
choose passwords out of few; our secrets are 256 random bits, which nobody guesses at any price, and a slow hash would
let strangers keep our processors busy with wrong tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql
from medmirror.errors import UsageError

SCOPES = ("read", "sync", "admin", "metrics")
_TOKEN = re.compile(r"mm_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
_TOUCHED = timedelta(minutes=1)  # a key's last use is written no more often
_NOBODY = (b"", bytes(32))  # compared with when there is no such key, so that the answer takes as long

_statement = partial(sql.statement, "service.sql")


class Caller(NamedTuple):
    """Who asks: a valid key. *organizations*: those that it may see; None: every one. *digest* is of the key."""

    key_id: str
    name: str
    scopes: frozenset[str]
    organizations: frozenset[str] | None
    digest: bytes = b""

    def sees(self, organization_id: str) -> bool:
        """Whether it may know that *organization_id* exists."""
        return self.organizations is None or organization_id in self.organizations

    def scope_values(self) -> dict[str, Any]:
        """What the statements of service.sql need to show it nothing else."""
        return {"everything": self.organizations is None, "organizations": sorted(self.organizations or ())}


class Made(NamedTuple):
    """A new key: its *token*, which is never shown again, and its id."""

    token: str
    key_id: str
    expires_at: datetime | None


def _digest(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()


def _checked(scopes: Sequence[str], organizations: Sequence[str] | None, name: str) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise UsageError(f"A key has one or more of the scopes {', '.join(SCOPES)}.")
    if organizations is not None and not organizations:
        raise UsageError("A key is for one or more organisations, or for all of them; name some, or say --all.")
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise UsageError("A key's name is 1 to 100 printable characters that say whose it is.")


def add(
    engine: Engine,
    name: str,
    scopes: Sequence[str],
    organizations: Sequence[str] | None,
    now: datetime,
    expires_at: datetime | None = None,
) -> Made:
    """Make a key of *name* for *organizations* (None: every one); its token is in what is returned and nowhere else."""
    _checked(scopes, organizations, name)
    facts = {"name": name, "scopes": sorted(set(scopes)), "expires_at": expires_at, "replaces": None}
    facts["organizations"] = None if organizations is None else sorted(set(organizations))
    return _insert(engine, facts, now)


def _insert(engine: Engine, facts: dict[str, Any], now: datetime, *, ends: datetime | None = None) -> Made:
    key_id = base64.b32encode(secrets.token_bytes(10)).decode().lower()[:12]
    secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)

    def work(conn: Connection) -> None:
        conn.execute(
            _statement("add key"),
            {**facts, "key_id": key_id, "salt": salt, "digest": _digest(salt, secret), "now": now},
        )
        if facts["replaces"] is not None:
            conn.execute(_statement("expire key"), {"key_id": facts["replaces"], "at": ends})

    retry.in_transaction(engine, work)
    return Made(f"mm_{key_id}_{secret}", key_id, facts["expires_at"])


def rotate(engine: Engine, key_id: str, now: datetime, overlap: timedelta) -> Made:
    """A new key with the name, scopes and organisations of *key_id*, which goes on to hold for *overlap*.

    The new one lives as long from now as the old one was to live in all. UsageError when the old one holds no more.
    """
    old = next((key for key in every(engine) if key["key_id"] == key_id), None)
    if old is None or old["revoked_at"] is not None or (old["expires_at"] is not None and old["expires_at"] <= now):
        raise UsageError(f"There is no valid key {key_id}; see medmirror keys list.")
    lifetime = None if old["expires_at"] is None else old["expires_at"] - old["created_at"]
    facts = {name: old[name] for name in ("name", "scopes", "organizations")}
    facts["expires_at"] = None if lifetime is None else now + lifetime
    return _insert(engine, {**facts, "replaces": key_id}, now, ends=now + overlap)


def revoke(engine: Engine, key_id: str, now: datetime) -> None:
    """Have *key_id* hold no more, from the next request on. UsageError when there is none."""
    values = {"key_id": key_id, "now": now}
    changed = retry.in_transaction(engine, lambda conn: conn.execute(_statement("revoke key"), values).rowcount)
    if not changed:
        raise UsageError(f"There is no key {key_id}; see medmirror keys list.")


def every(engine: Engine) -> list[dict[str, Any]]:
    """Every key, oldest first, as facts that may be shown."""
    with engine.connect() as conn:
        return [dict(row) for row in conn.execute(_statement("keys")).mappings()]


def find(conn: Connection, token: str, now: datetime) -> Caller | None:
    """The caller whose *token* this is; None for one that is unknown, expired or revoked. Notes its use, to the
    minute."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    row = conn.execute(_statement("key"), {"key_id": match[1]}).mappings().first()
    salt, digest = (bytes(row["salt"]), bytes(row["digest"])) if row else _NOBODY
    same = hmac.compare_digest(_digest(salt, match[2]), digest)
    return _caller(conn, row, now) if same and row else None


def by_id(conn: Connection, key_id: str, now: datetime) -> Caller | None:
    """The caller of the key *key_id*, for a session that was opened with it; None when it holds no more."""
    row = conn.execute(_statement("key"), {"key_id": key_id}).mappings().first()
    return _caller(conn, row, now) if row else None


def _caller(conn: Connection, row: Any, now: datetime) -> Caller | None:
    if row["revoked_at"] is not None or (row["expires_at"] is not None and row["expires_at"] <= now):
        return None
    if row["last_used_at"] is None or row["last_used_at"] + _TOUCHED < now:
        conn.execute(_statement("touch key"), {"key_id": row["key_id"], "now": now})
        conn.commit()
    organizations = None if row["organizations"] is None else frozenset(row["organizations"])
    return Caller(row["key_id"], row["name"], frozenset(row["scopes"]), organizations, bytes(row["digest"]))
