"""Exports of Cliniko: the pages of every list of one clinic, saved file by file, on one day or the days after it.

What changes from one day to the next: ``cliniko_states``. Pages have the quirks of saved ones: the total may be a text,
and may stand before or behind the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson

from medmirror_testing.samples import cliniko_others as others
from medmirror_testing.samples import cliniko_records as records
from medmirror_testing.samples.cliniko_records import BASE, BUSINESSES, DAY, PRACTITIONERS, START, TYPES, State
from medmirror_testing.samples.cliniko_states import Clinic, appointment_state, patient_of, patient_state
from medmirror_testing.samples.packing import Packer

ARRAYS = {
    "patient": "patients",
    "appointment": "individual_appointments",
    "practitioner": "practitioners",
    "business": "businesses",
    "appointment_type": "appointment_types",
    "attachment": "patient_attachments",
    "invoice": "invoices",
    "deletion": "patients",
}
"""The array in a page of each feed."""
CLINIKO_FEEDS = tuple(ARRAYS)

_ASKED = {  # what has to be asked for, or Cliniko leaves it out
    "individual_appointments": "q%5B%5D=archived_at%3A%2A&",
    "individual_appointments/cancelled": "q%5B%5D=archived_at%3A%2A&",
}
_INACTIVE = 2


class ClinikoExport(NamedTuple):
    """An export that was written: its files, and the number of records of each list."""

    folder: Path
    files: tuple[Path, ...]
    records: dict[str, int]


def write_cliniko(
    folder: Path,
    *,
    patients: int = 200,
    appointments: int = 1000,
    seed: int = 0,
    day: int = 0,
    per_page: int = 100,
    packed: bool = False,
) -> ClinikoExport:
    """Write every page of every list of a clinic into *folder*, gzipped when *packed*; create the folder if need be.

    The people are those of *seed*. The API's own pages have at most 100 records; *per_page* may be any number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clinic = Clinic(patients, appointments, seed, day)
    files: list[Path] = []
    counts: dict[str, int] = {}
    for name, members, body in _lists(clinic):
        counts[name] = sum(1 for _ in members())
        bodies = map(body, members())
        for number in range(1, max(1, -(-counts[name] // per_page)) + 1):
            path = folder / f"{name.replace('/', '-')}-{number:04d}.json{'.gz' if packed else ''}"
            _write_page(path, name, islice(bodies, per_page), number, per_page, counts[name])
            files.append(path)
    return ClinikoExport(folder, tuple(files), counts)


def write_cliniko_page(
    path: Path, feed: str, count: int, *, first: int = 0, day: int = 0, revision: int = 0, seed: int = 0
) -> Path:
    """Write one page with the records *first* and on of *feed*, in the state *revision*, as updated on *day*."""
    state = State(START + day * DAY, revision=revision)
    writers: dict[str, Callable[[int], bytes]] = {
        "patient": lambda n: records.patient(n, state, seed),
        "appointment": lambda n: records.appointment(n, state, n, seed),
        "practitioner": lambda n: others.practitioner(n, state, seed),
        "business": lambda n: others.business(n, state, seed),
        "appointment_type": lambda n: others.appointment_type(n, state, seed),
        "attachment": lambda n: others.attachment(n, state, n, seed),
        "invoice": lambda n: others.invoice(n, state, n, n, seed),
        "deletion": lambda n: others.deletion("patient", "patients", n, State(deleted=state.updated)),
    }
    name = f"{ARRAYS[feed]}/deleted" if feed == "deletion" else ARRAYS[feed]
    _write_page(path, name, map(writers[feed], range(first, first + count)), 1, count, count)
    return path


def _write_page(path: Path, name: str, bodies: Iterable[bytes], number: int, per_page: int, total: int) -> None:
    array = name.partition("/")[0]
    query = f"{BASE}/{name}?{_ASKED.get(name, '')}page={{}}&per_page={per_page}"
    links = {"self": query.format(number)}
    if number * per_page < total:
        links["next"] = query.format(number + 1)
    if number > 1:
        links["previous"] = query.format(number - 1)
    facts = orjson.dumps({"total_entries": str(total) if number % 2 else total, "links": links})[1:-1]
    before = number % 7 == 3
    with Packer(path) as out:
        out.write(b"{" + (facts + b"," if before else b"") + f'"{array}":['.encode())
        for index, body in enumerate(bodies):
            out.write(b"," + body if index else body)
        out.write(b"]" + (b"" if before else b"," + facts) + b"}\n")


# --- who is in which list

_Members = Callable[[], Iterator[int]]
_Body = Callable[[int], bytes]


def _lists(clinic: Clinic) -> Iterator[tuple[str, _Members, _Body]]:
    """Each list: its name, the ordinals in it, and the body of one."""
    seed, none = clinic.seed, State()
    yield "businesses", lambda: iter(range(BUSINESSES)), lambda n: others.business(n, none, seed)
    yield "practitioners", lambda: iter(range(PRACTITIONERS)), lambda n: others.practitioner(n, none, seed)
    left = range(PRACTITIONERS, PRACTITIONERS + _INACTIVE)
    yield "practitioners/inactive", lambda: iter(left), lambda n: others.practitioner(n, none, seed, active=False)
    yield "appointment_types", lambda: iter(range(TYPES)), lambda n: others.appointment_type(n, none, seed)
    yield from _patient_lists(clinic)
    yield from _appointment_lists(clinic)
    files = range(clinic.grown(clinic.patients // 20))
    yield "patient_attachments", lambda: iter(files), lambda n: others.attachment(n, none, n * 20, seed)
    yield from _invoice_lists(clinic)


def _patient_lists(clinic: Clinic) -> Iterator[tuple[str, _Members, _Body]]:
    def members(wanted: str) -> _Members:
        every = range(clinic.grown(clinic.patients))
        return lambda: (n for n in every if _patient_list(patient_state(n, clinic.day)) == wanted)

    def body(ordinal: int) -> bytes:
        state = patient_state(ordinal, clinic.day)
        if state.deleted and ordinal % 100 != 13:  # some lists of deleted patients hold them in full
            return others.deletion("patient", "patients", ordinal, state)
        return records.patient(ordinal, state, clinic.seed)

    for name in ("patients", "patients/archived", "patients/deleted"):
        yield name, members(name), body


def _patient_list(state: State) -> str:
    return "patients/deleted" if state.deleted else "patients/archived" if state.archived else "patients"


def _appointment_lists(clinic: Clinic) -> Iterator[tuple[str, _Members, _Body]]:
    def members(wanted: str) -> _Members:
        every = range(clinic.grown(clinic.appointments))
        return lambda: (n for n in every if _appointment_list(appointment_state(n, clinic)) == wanted)

    def body(ordinal: int) -> bytes:
        state = appointment_state(ordinal, clinic)
        if state.deleted and ordinal % 120 == 71:
            return others.deletion("appointment", "individual_appointments", ordinal, state)
        return records.appointment(ordinal, state, patient_of(ordinal, clinic), clinic.seed)

    for name in ("individual_appointments", "individual_appointments/cancelled", "individual_appointments/deleted"):
        yield name, members(name), body


def _appointment_list(state: State) -> str:
    under = "/deleted" if state.deleted else "/cancelled" if state.cancelled else ""
    return "individual_appointments" + under


def _invoice_lists(clinic: Clinic) -> Iterator[tuple[str, _Members, _Body]]:
    every = range(clinic.grown(clinic.appointments // 10))
    gone = START - DAY

    def body(ordinal: int) -> bytes:
        state = State(gone, deleted=gone) if ordinal % 50 == 9 else State()
        return others.invoice(ordinal, state, patient_of(ordinal * 10, clinic), ordinal * 10, clinic.seed)

    yield "invoices", lambda: (n for n in every if n % 50 != 9), body
    yield "invoices/deleted", lambda: (n for n in every if n % 50 == 9), body
