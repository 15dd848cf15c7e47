"""Clinics on a local Cliniko server, as tests of the engine have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Engine, text

from medmirror.sync import organizations, watermark
from medmirror.sync.organizations import Organization
from medmirror_testing.servers.clinikodata import SECOND, Account
from medmirror_testing.servers.clinikoserver import ClinikoServer

AGENT = "Tests (tests@medmirror.example)"
KINDS = ("patient", "appointment", "practitioner", "business", "appointment_type")


def added(engine: Engine, server: ClinikoServer, name: str, secret: str, **more: object) -> Organization:
    """The organisation *name*, whose key is in the variable *secret*, known to the mirror."""
    settings = {"url": server.url, "user_agent": AGENT}
    one = Organization(name, "cliniko", "cliniko", settings=settings, secret=f"env:{secret}", **more)  # type: ignore[arg-type]
    return organizations.put(engine, one)


class Held(NamedTuple):
    """A record as the mirror holds it: its *version* (None: only its deletion is known) and *state*."""

    version: int | None
    state: str


def held(engine: Engine, one: Organization) -> dict[tuple[str, str], Held]:
    """What the mirror holds of *one*, by feed and id."""
    query = text("SELECT feed, source_id, version, state FROM medmirror.sync_mapping WHERE organization_id = :whose")
    with engine.connect() as conn:
        rows = conn.execute(query, {"whose": one.organization_id})
        return {(row.feed, row.source_id): Held(row.version, row.state) for row in rows}


def differences(engine: Engine, one: Organization, account: Account) -> list[str]:
    """What the mirror of *one* lacks, has in another version or state, or has too much, in words."""
    have, found, met = held(engine, one), [], 0
    for kind in KINDS:
        gone = account.gone(kind)
        for id, version in account.versions(kind).items():
            record = have.get((kind, id))
            met += record is not None
            if id in gone:
                if record is not None and record.state != "deleted":
                    found.append(f"{kind} lives on")
            elif record is None:
                found.append(f"{kind} is missing")
            elif record.state == "deleted":
                found.append(f"{kind} is not deleted")
            elif record.version != version:
                found.append(f"{kind} is of another version")
    return [*found, *(["there is more"] if len(have) > met else [])]


def ahead(engine: Engine, one: Organization, account: Account) -> list[str]:
    """Watermarks of changes that claim what the mirror does not hold."""
    have = held(engine, one)
    with engine.connect() as conn:
        marks = watermark.read(conn, one)
    wrong = []
    for (feed, kind), mark in marks.items():
        if kind not in ("changed", "full"):
            continue
        for id, time in account.versions(feed).items():
            record = have.get((feed, id))
            missing = record is None or record.version is None or record.version < time
            if time < mark.position.time // SECOND * SECOND and missing and id not in account.gone(feed):
                wrong.append(f"{kind} of {feed}")
    return wrong


def calls(server: ClinikoServer) -> Mapping[str, int]:
    """How often each list was asked for so far."""
    return dict(server.http.calls)
