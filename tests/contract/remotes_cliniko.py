"""Cliniko for the contract tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from remotes import START, Opener, Side

from medmirror import remotes
from medmirror.clock import microseconds
from medmirror.remotes.base import Around, Remote, Secret
from medmirror_testing.samples.people import person
from medmirror_testing.servers import clinikobodies
from medmirror_testing.servers.clinikodata import Account
from medmirror_testing.servers.clinikoserver import KEY, ClinikoServer
from medmirror_testing.servers.clock import SimulatedClock


@contextmanager
def _cliniko(folder: Path) -> Iterator[Side]:
    clock = SimulatedClock(START)
    account = Account(clock.clock)
    with ClinikoServer(account, clock=clock.clock, limit=None) as server:

        def opened(key: str, around: Around) -> Remote:
            settings = {"url": server.url, "user_agent": "medmirror tests (tests@example.org)"}
            return remotes.kind("cliniko").open("org_1", settings, Secret(key), around)

        yield Side(
            source="cliniko",
            feed="patient",
            clock=clock,
            open=lambda around: opened(KEY, around),
            open_wrong=lambda around: opened("bm90YWtleQ-au1", around),
            make=lambda times: _make(account, times),
            ids=lambda: account.ids("patient"),
            per_page=100,
            touch=lambda id: void(account.change("patient", id)),
            delete=lambda id: void(account.delete("patient", id)),
            hide=lambda id: void(account.archive("patient", id)),
            begin=lambda starts: account.put("appointment", at=starts - timedelta(days=3), starts=microseconds(starts)),
            document=_document,
            version=lambda id: _read(account, id)["updated_at"],
            says=lambda id: _read(account, id)["notes"],
            faults=server.faults,
            secrets=(KEY, KEY.partition("-")[0]),
        )


def void(time: int) -> None:
    """Nothing: what happened is enough."""


def _make(account: Account, times: Sequence[datetime]) -> list[str]:
    return [account.put("patient", at=time) for time in times]


def _document(number: int, text: str) -> Mapping[str, Any]:
    who = person(number)
    return {
        "id": "is not to be written",
        "first_name": who.given,
        "last_name": who.family,
        "date_of_birth": who.birth_date.isoformat(),
        "notes": text,
        "links": {"self": "https://api.au1.cliniko.com/v1/patients/0"},
    }


def _read(account: Account, id: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(clinikobodies.body(account, "patient", account.newest("patient", id)))
    return found


CAN = frozenset({"ordered", "deleted", "window", "hidden", "get", "push", "http", "key", "touch"})
OPENERS = (Opener("cliniko", CAN, _cliniko),)
