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

from medmirror.dates import zones
from medmirror.db import retry, sql
from medmirror.errors import SettingsChanged, SyncPaused, UsageError
from medmirror.remotes.base import Secret
from medmirror.settings import lookup

_BEHAVIOUR = frozenset(
    {"user_agent", "page", "count", "rest", "push", "pushed"}
)  # settings that do not change which system it is
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_PLACE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+", re.ASCII)
_LOOK_AGAIN = 3600.0  # seconds after which the job of a paused organisation looks again

_statement = partial(sql.statement, "sync.sql")


@dataclass(frozen=True, slots=True)
class Organization:
    """A practice system that is kept in step: a row of medmirror.organization."""

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
    mappings: tuple[str, ...] = ()  # texts of the organisation's own mapping files
    webhook_secret: str | None = None
    paused_at: datetime | None = None
    paused_why: str | None = None

    @property
    def key(self) -> dict[str, str]:
        """The key of the system in every table of the syncs, as parameters of a statement."""
        return {"organization_id": self.organization_id, "source": self.source}

    @property
    def tz(self) -> ZoneInfo:
        """The time zone. Raises ValueError when there is no such zone."""
        return zones.zone(self.zone)


def read_secret(name: str | None) -> Secret | None:
    """Return the secret that *name* (env:NAME or file:/path) stands for; None for None.

    Raises UsageError, naming the place, when there is none.
    """
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
    """Return that organisation's system; None when it is not stored."""
    systems = _rows(conn, organization_id=organization_id, source=source)
    return systems[0] if systems else None


def of(conn: Connection, organization: Organization) -> Organization | None:
    """Return *organization* as the database has it now; None when it is not stored."""
    return get(conn, organization.organization_id, organization.source)


def every(conn: Connection, organization_id: str | None = None) -> list[Organization]:
    """Return every system (of *organization_id*, if given), in the order of organisation and source."""
    return _rows(conn, organization_id=organization_id, source=None)


def _rows(conn: Connection, **values: str | None) -> list[Organization]:
    systems = []
    for row in conn.execute(_statement("organizations"), values).mappings():
        windows = None if row["windows"] is None else tuple((int(n), int(s)) for n, s in row["windows"])
        systems.append(Organization(**{**row, "mappings": tuple(row["mappings"]), "windows": windows}))
    return systems


def _check(organization: Organization) -> None:
    """Raise UsageError for an id or a secret that the table would refuse without a helpful message."""
    if not _ID.fullmatch(organization.organization_id):
        raise UsageError("The id of an organisation is 1 to 64 letters, digits, and . _ - within, like org_123.")
    for place in (organization.secret, organization.webhook_secret):
        if place is not None and not _PLACE.fullmatch(place):  # it may be the secret itself: it is not repeated
            raise UsageError("A secret is named as env:VARIABLE or file:/path, for example env:CLINIKO_KEY.")


def put(engine: Engine, organization: Organization) -> Organization:
    """Add *organization*, or change its row; return it with its number.

    Its marks stay, unless the row now names another system: that one is read from its beginning.
    """
    _check(organization)
    values = {
        **organization.key,
        "remote": organization.remote,
        "settings": orjson.dumps(dict(organization.settings)).decode(),
        "secret": organization.secret,
        "zone": organization.zone,
        "tier": organization.tier,
        "windows": None if organization.windows is None else orjson.dumps(organization.windows).decode(),
        "window_back": organization.window_back,
        "window_ahead": organization.window_ahead,
        "recent_first": organization.recent_first,
        "destination": None
        if organization.destination is None
        else orjson.dumps(dict(organization.destination)).decode(),
        "mappings": list(organization.mappings),
        "webhook_secret": organization.webhook_secret,
    }

    def work(conn: Connection) -> Organization:
        before = of(conn, organization)
        conn.execute(_statement("put organization"), values)
        stored = of(conn, organization)
        assert stored is not None
        if before is not None and _place(before) != _place(stored):
            conn.execute(_statement("reset watermarks"), organization.key)
            conn.execute(_statement("forget place"), organization.key)
        return stored

    return retry.in_transaction(engine, work)


def check(organization: Organization, stored: Organization | None) -> None:
    """Raise SyncPaused or SettingsChanged when *organization* is paused or is another system in the database
    (*stored*).
    """
    if stored is not None and stored.paused_at is not None:
        raise SyncPaused(organization=organization.organization_id, wait=_LOOK_AGAIN)
    if stored is not None and _place(stored) != _place(organization):
        raise SettingsChanged(organization=organization.organization_id)


def _place(organization: Organization) -> tuple[str, str | None, bytes]:
    """Return the settings by which one system differs from another."""
    settings = {name: value for name, value in organization.settings.items() if name not in _BEHAVIOUR}
    return organization.remote, organization.secret, orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)


def pause(engine: Engine, organization: Organization, why: str | None) -> None:
    """Pause *organization* for the reason *why*; None: resume it, and its delayed jobs at once."""
    values = {**organization.key, "why": why}

    def work(conn: Connection) -> None:
        conn.execute(_statement("pause organization"), values)
        if why is None:
            conn.execute(_statement("hurry"), values)

    retry.in_transaction(engine, work)


def only(systems: Sequence[Organization], organization_id: str) -> Organization:
    """Return the only one of *systems*. Raises UsageError, naming what there is, when there are none or several."""
    if not systems:
        raise UsageError(
            f"There is no organisation {organization_id}; add it: medmirror organizations add {organization_id} ..."
        )
    if len(systems) > 1:
        raise UsageError(f"{organization_id} has several systems; name one: --source {systems[0].source}")
    return systems[0]
