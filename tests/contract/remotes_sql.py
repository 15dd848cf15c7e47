"""A practice's database, and a folder of exports, for the contract tests."""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from remotes import START, Opener, Side

from medmirror import remotes
from medmirror.clock import Clock
from medmirror.remotes.base import Around, Remote
from medmirror.remotes.sql import SqlRemote
from medmirror.remotes.sql import settings as sqlsettings
from medmirror_testing.samples.people import person
from medmirror_testing.servers.clock import SimulatedClock

_TABLES = """
CREATE TABLE patients (id integer NOT NULL PRIMARY KEY, name text, notes text, edited timestamp);
CREATE TABLE visits (id integer NOT NULL PRIMARY KEY, starts timestamp, edited timestamp);
CREATE TABLE gone (id integer, at timestamp);
CREATE TABLE medmirror_pushed (idempotency_key varchar(200) PRIMARY KEY, kind varchar(100), id varchar(400),
    version varchar(100), time bigint);
"""
_MAPPING = """
[[table]]
kind = "patient"
name = "patients"
key = ["id"]
updated = "edited"
time_zone = "UTC"

[[table]]
kind = "visit"
name = "visits"
key = ["id"]
updated = "edited"
time_zone = "UTC"
"""
_SETTINGS: Mapping[str, Any] = {
    "mapping": _MAPPING,
    "deleted": {"patient": {"table": "gone", "at": "at"}},
    "begins": {"visit": "starts"},
    "push": ["patient"],
    "page": 20,
}


class _Practice:
    """A SQLite file that the test writes to."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._numbers = itertools.count(5001)
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_TABLES)

    def remote(self, around: Around) -> Remote:
        wanted = sqlsettings.read({"url": f"sqlite:///{self._path}", **_SETTINGS})
        return SqlRemote("org_1", wanted, None, around, self._clock)

    def run(self, statement: str, *rows: Sequence[Any]) -> list[Any]:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            if len(rows) == 1:
                return connection.execute(statement, rows[0]).fetchall()
            connection.executemany(statement, rows)
            return []

    def make(self, times: Sequence[datetime]) -> list[str]:
        numbers = [next(self._numbers) for _ in times]
        rows = [(number, person(number).family, "", _text(at)) for number, at in zip(numbers, times, strict=True)]
        self.run("INSERT INTO patients VALUES (?, ?, ?, ?)", *rows)
        return [str(number) for number in numbers]

    def begin(self, starts: datetime) -> str:
        number = next(self._numbers)
        self.run("INSERT INTO visits VALUES (?, ?, ?)", (number, _text(starts), _text(START)))
        return str(number)

    def touch(self, id: str) -> None:
        self.run("UPDATE patients SET notes = notes || 'x', edited = ? WHERE id = ?", (_text(self._clock.now()), id))

    def delete(self, id: str) -> None:
        self.run("DELETE FROM patients WHERE id = ?", (id,))
        self.run("INSERT INTO gone VALUES (?, ?)", (id, _text(self._clock.now())))

    def ids(self) -> set[str]:
        return {str(row[0]) for row in self.run("SELECT id FROM patients", ())}

    def value(self, column: str, id: str) -> str:
        rows = self.run("SELECT notes, edited FROM patients WHERE id = ?", (id,))
        text = str(rows[0][("notes", "edited").index(column)])
        return text.replace(" ", "T") if column == "edited" else text


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def _document(number: int, text: str) -> Mapping[str, Any]:
    return {"name": person(number).family, "notes": text}


@contextmanager
def _sql(folder: Path) -> Iterator[Side]:
    clock = SimulatedClock(START)
    practice = _Practice(folder / "practice.db", clock.clock)
    yield Side(
        source="sql",
        feed="patient",
        clock=clock,
        open=practice.remote,
        make=practice.make,
        ids=practice.ids,
        per_page=20,
        touch=practice.touch,
        delete=practice.delete,
        begin=practice.begin,
        document=_document,
        version=lambda id: practice.value("edited", id),
        says=lambda id: practice.value("notes", id),
    )


@contextmanager
def _folder(folder: Path) -> Iterator[Side]:
    made: list[str] = []

    def make(times: Sequence[datetime]) -> list[str]:
        some = [str(len(made) + number) for number in range(len(times))]
        path = folder / f"patients{len(made)}.csv"
        path.write_text("".join(["Id,Name\n", *(f"{id},{person(int(id)).family}\n" for id in some)]))
        os.utime(path, (time.time() - 3600,) * 2)
        made.extend(some)
        return some

    settings = {"path": str(folder), "source": "csv"}
    yield Side(
        source="csv",
        feed="file",
        clock=SimulatedClock(START),
        open=lambda around: remotes.kind("folder").open("org_1", settings, None, around),
        make=make,
        ids=lambda: set(made),
        per_page=50,
        given={"mapping": orjson.dumps(['[file]\nkind = "patient"\nkey = ["Id"]\n']).decode()},
    )


OPENERS = (
    Opener("sql", frozenset({"ordered", "deleted", "window", "get", "push", "touch"}), _sql),
    Opener("folder", frozenset(), _folder),
)
