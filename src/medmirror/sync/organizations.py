"""The organisations that are kept in step, each with its remote: the table medmirror.organization."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql
from medmirror.errors import SettingsChanged, SyncPaused, UsageError
from medmirror.remotes.base import Secret
from medmirror.settings import lookup

_HOW = frozenset({"user_agent", "page", "count", "rest", "push", "pushed"})  # settings that move no list elsewhere
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_PLACE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+", re.ASCII)
_LOOK_AGAIN = 3600.0  # seconds after which the job of a paused organisation looks whether it still is

_statement = partial(sql.statement, "sync.sql")


@dataclass(frozen=True, slots=True)
class Organization:
    """One practice system that is kept in step: a row of medmirror.organization."""

    organization_id: str
    source: str
    remote: str
    number: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    secret: str | None = None  # env:NAME or file:/path
    zone: str = "UTC"
    tier: str = "standard"
    windows: tuple[tuple[int, int], ...] | None = None  # (requests, seconds) each
    window_back: int = 7  # days
    window_ahead: int = 30
    recent_first: bool = False  # its first sync leaves the history of appointments to a backfill
    destination: Mapping[str, Any] | None = None
    mappings: tuple[str, ...] = ()  # texts of its own mapping files
    webhook_secret: str | None = None
    paused_at: datetime | None = None
    paused_why: str | None = None

    @property
    def key(self) -> dict[str, str]:
        """What it is known by in every table of the syncs, as parameters of a statement."""
        return {"organization_id": self.organization_id, "source": self.source}

    @property
    def tz(self) -> ZoneInfo:
        """Its time zone."""
        return ZoneInfo(self.zone)


def read_secret(name: str | None) -> Secret | None:
    """The secret that *name* (env:NAME or file:/path) stands for; None for none. Raises UsageError, naming the
    place."""
    if name is None:
        return None
    kind, _, place = name.partition(":")
    if kind == "env":
        value = lookup(place)
    elif kind == "file":
        try:
            value = Path(place).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            value = None
    else:
        raise UsageError("A secret is named as env:VARIABLE or file:/path, for example env:CLINIKO_KEY.")
    if not value or not value.strip():
        raise UsageError(f"There is no secret at {name}; set the variable, or write the file.")
    return Secret(value.strip())


def get(conn: Connection, organization_id: str, source: str) -> Organization | None:
    """That organisation's system; None when it is not known."""
    found = _rows(conn, organization_id=organization_id, source=source)
    return found[0] if found else None


def of(conn: Connection, one: Organization) -> Organization | None:
    """*one* as the database has it now; None when it is not known."""
    return get(conn, one.organization_id, one.source)


def every(conn: Connection, organization_id: str | None = None) -> list[Organization]:
    """Every system that is kept in step (of *organization_id*, if given), in the order of organisation and source."""
    return _rows(conn, organization_id=organization_id, source=None)


def _rows(conn: Connection, **values: str | None) -> list[Organization]:
    made = []
    for row in conn.execute(_statement("organizations"), values).mappings():
        windows = None if row["windows"] is None else tuple((int(n), int(s)) for n, s in row["windows"])
        made.append(Organization(**{**row, "mappings": tuple(row["mappings"]), "windows": windows}))
    return made


def _check(one: Organization) -> None:
    """UsageError for what the table would refuse in words that help nobody."""
    if not _ID.fullmatch(one.organization_id):
        raise UsageError("The id of an organisation is 1 to 64 letters, digits, and . _ - within, like org_123.")
    for place in (one.secret, one.webhook_secret):
        if place is not None and not _PLACE.fullmatch(place):  # it may be the secret itself: it is not repeated
            raise UsageError("A secret is named as env:VARIABLE or file:/path, for example env:CLINIKO_KEY.")


def put(engine: Engine, one: Organization) -> Organization:
    """Add *one*, or change what is known of it; return it with its number. Its marks stay, unless it is another system
    now: what was read of the one before says nothing of this one, which is read from its beginning."""
    _check(one)
    values = {
        **one.key,
        "remote": one.remote,
        "settings": orjson.dumps(dict(one.settings)).decode(),
        "secret": one.secret,
        "zone": one.zone,
        "tier": one.tier,
        "windows": None if one.windows is None else orjson.dumps(one.windows).decode(),
        "window_back": one.window_back,
        "window_ahead": one.window_ahead,
        "recent_first": one.recent_first,
        "destination": None if one.destination is None else orjson.dumps(dict(one.destination)).decode(),
        "mappings": list(one.mappings),
        "webhook_secret": one.webhook_secret,
    }

    def work(conn: Connection) -> Organization:
        before = of(conn, one)
        conn.execute(_statement("put organization"), values)
        found = of(conn, one)
        assert found is not None
        if before is not None and _place(before) != _place(found):
            conn.execute(_statement("reset watermarks"), one.key)
            conn.execute(_statement("forget place"), one.key)
        return found

    return retry.in_transaction(engine, work)


def check(one: Organization, now: Organization | None) -> None:
    """Raise SyncPaused or SettingsChanged when *one* is paused or elsewhere, by what the database has of it *now*."""
    if now is not None and now.paused_at is not None:
        raise SyncPaused(organization=one.organization_id, wait=_LOOK_AGAIN)
    if now is not None and _place(now) != _place(one):
        raise SettingsChanged(organization=one.organization_id)


def _place(one: Organization) -> tuple[str, str | None, bytes]:
    """What tells its system from another one."""
    settings = {name: value for name, value in one.settings.items() if name not in _HOW}
    return one.remote, one.secret, orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)


def pause(engine: Engine, one: Organization, why: str | None) -> None:
    """Have nothing done for *one* any more, for the reason *why*; None: go on with it, and with what was put off."""
    values = {**one.key, "why": why}

    def work(conn: Connection) -> None:
        conn.execute(_statement("pause organization"), values)
        if why is None:
            conn.execute(_statement("hurry"), values)

    retry.in_transaction(engine, work)


def one_of(found: Sequence[Organization], organization_id: str) -> Organization:
    """The only one of *found*, or UsageError saying what there is."""
    if not found:
        raise UsageError(
            f"There is no organisation {organization_id}; add it: medmirror organizations add {organization_id} ..."
        )
    if len(found) > 1:
        raise UsageError(f"{organization_id} has several systems; name one: --source {found[0].source}")
    return found[0]
