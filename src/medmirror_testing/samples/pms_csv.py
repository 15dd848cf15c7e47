"""CSV exports of an imaginary practice system: patients, practitioners and appointments, in the usual variants of CSV.

``PMS_MAPPINGS`` has the mapping file of each kind.
"""

from __future__ import annotations

import codecs
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from medmirror_testing.samples.packing import Packer
from medmirror_testing.samples.people import Person, person

Kind = Literal["patient", "practitioner", "appointment"]

_FIRST_PRACTITIONER = 900_000_000  # numbers of people that are no patients
_PRACTITIONERS = 40
_STARTS = datetime(2024, 1, 1, 8, tzinfo=UTC)
_TYPES = ("Initial consultation", "Standard consultation", "Follow-up, short", 'Review of "results"')
_NOTES = (
    "",
    "",
    "",
    "prefers mornings",
    "allergic to latex; see file",
    'asked to be called "Doc"',
    "first line\nsecond line, after a break",
)
_HEADERS: dict[Kind, tuple[str, ...]] = {
    "patient": (
        "Patient No",
        "Title",
        "First Name",
        "Middle Name",
        "Surname",
        "Sex",
        "Date of Birth",
        "Mobile",
        "E-Mail",
        "Street",
        "City",
        "State",
        "Postcode",
        "Country",
        "Medicare No",
        "Notes",
        "Status",
        "Last Updated",
    ),
    "practitioner": (
        "Staff No",
        "Title",
        "First Name",
        "Surname",
        "Specialty",
        "Phone",
        "E-Mail",
        "Status",
        "Last Updated",
    ),
    "appointment": (
        "Appointment No",
        "Patient No",
        "Staff No",
        "Starts",
        "Minutes",
        "Type",
        "Arrived",
        "Notes",
        "Status",
        "Last Updated",
    ),
}
_KEYS: dict[Kind, str] = {"patient": "Patient No", "practitioner": "Staff No", "appointment": "Appointment No"}

_MEANINGS: dict[Kind, str] = {
    "patient": """\
entity = "patient"
region = { source = "Country", default = "AU" }

[mapper.fields]
"names[0].prefix" = "Title"
"names[0].given" = ["First Name", "Middle Name"]
"names[0].family" = { source = "Surname", required = true }
sex = { source = "Sex", enum = { F = "FEMALE", M = "MALE" } }
birth_date = { source = "Date of Birth", format = "%d/%m/%Y" }
"phones[0].use" = { value = "MOBILE" }
"phones[0].raw" = "Mobile"
"emails[0]" = "E-Mail"
"addresses[0].lines" = ["Street"]
"addresses[0].city" = "City"
"addresses[0].region" = "State"
"addresses[0].post_code" = "Postcode"
"addresses[0].country_text" = "Country"
"identifiers[0].system" = { value = "medicare" }
"identifiers[0].type" = { value = "MEDICARE" }
"identifiers[0].value" = "Medicare No"
notes = "Notes"
""",
    "practitioner": """\
entity = "practitioner"
region = "AU"

[mapper.fields]
"names[0].prefix" = "Title"
"names[0].given" = "First Name"
"names[0].family" = "Surname"
"specialties[0]" = "Specialty"
"phones[0].raw" = "Phone"
"emails[0]" = "E-Mail"
""",
    "appointment": """\
entity = "appointment"

[mapper.fields]
status = { source = "Arrived", enum = { Yes = "ARRIVED", No = "NO_SHOW" } }
starts = "Starts"
minutes = "Minutes"
patient = { source = "Patient No", feed = "patient", required = true }
practitioner = { source = "Staff No", feed = "practitioner" }
"service_types[0]" = "Type"
notes = "Notes"
""",
}

PMS_MAPPINGS: dict[Kind, str] = {
    kind: f"""\
[file]
kind = "{kind}"
match = "{kind}*.csv*"
key = ["{key}"]
updated = {{column = "Last Updated", format = "%d/%m/%Y %H:%M:%S", zone = "Australia/Sydney"}}
deleted = {{column = "Status", values = ["DELETED"]}}
whole = true

[[mapper]]
source = "csv"
feed = "{kind}"
{_MEANINGS[kind]}
[mapper.drop]
"{key}" = "the record's key"
Status = "told by sync_mapping.state"
"Last Updated" = "the record's version"
"""
    for kind, key in _KEYS.items()
}


class PmsFile(NamedTuple):
    """A CSV file that was written. *size* counts decoded bytes, *changed* the ordinals of records that are later
    versions."""

    path: Path
    records: int
    size: int
    changed: tuple[int, ...]


def write_pms_csv(
    path: Path,
    kind: Kind,
    rows: int,
    *,
    first: int = 0,
    seed: int = 0,
    generation: int = 0,
    change: float = 0.0,
    deleted: Sequence[int] = (),
    delimiter: str = ",",
    encoding: str = "utf-8",
    mark: bool = False,
    line_end: str = "\r\n",
    quote_all: bool = False,
) -> PmsFile:
    """Write records *first* and on of *kind*; gzipped when *path* ends in ``.gz``.

    Patient n is ``people.person(n)``. *generation* is the day of the export, from which each record's last change is
    counted; *change* the share of records whose content differs from the usual; *deleted* are ordinals of those that
    are marked as deleted. *mark* puts a byte order mark in front. Of 7 notes one holds a line break, others delimiters
    and quotes.
    """
    ordinals = range(first, first + rows)
    changed = frozenset(random.Random(f"{seed} changed").sample(ordinals, round(rows * change)))
    updated = (datetime(2026, 2, 1, 3, 0) + timedelta(days=generation)).strftime("%d/%m/%Y %H:%M:%S")
    encode = codecs.getincrementalencoder(encoding)().encode

    def line(cells: Sequence[str]) -> bytes:
        quoted = (
            '"' + cell.replace('"', '""') + '"' if quote_all or set(cell) & {delimiter, '"', "\n", "\r"} else cell
            for cell in cells
        )
        return encode(delimiter.join(quoted) + line_end)

    with Packer(path) as packer:
        if mark:
            packer.write(encode("\ufeff"))
        packer.write(line(_HEADERS[kind]))
        gone = frozenset(deleted)
        for ordinal in ordinals:
            cells = _CELLS[kind](ordinal, seed, ordinal in changed)
            packer.write(line([*cells, "DELETED" if ordinal in gone else "ACTIVE", updated]))
        size = packer.size
    return PmsFile(path, rows, size, tuple(sorted(changed)))


def _patient(ordinal: int, seed: int, changed: bool) -> list[str]:
    who = person(ordinal, seed)
    return [
        f"{100_000 + ordinal}",
        who.title,
        who.given,
        who.middle,
        who.family,
        {"female": "F", "male": "M"}[who.sex],
        who.birth_date.strftime("%d/%m/%Y"),
        _local(who),
        who.email,
        who.street,
        who.city,
        who.state,
        who.post_code,
        who.country,
        who.identifier,
        _NOTES[ordinal % len(_NOTES)] + (" (moved)" if changed else ""),
    ]


def _local(who: Person) -> str:
    """A phone number as people in its country write it."""
    digits = "0" + who.phone.removeprefix("+61")
    return f"{digits[:4]} {digits[4:7]} {digits[7:]}"


def _practitioner(ordinal: int, seed: int, changed: bool) -> list[str]:
    who = person(_FIRST_PRACTITIONER + ordinal, seed)
    title = who.title if changed else "Dr"
    return [f"S{ordinal}", title, who.given, who.family, "General practice", _local(who), who.email]


def _appointment(ordinal: int, seed: int, changed: bool) -> list[str]:
    rng = random.Random((seed << 40) ^ ordinal)
    starts = _STARTS + timedelta(minutes=15 * ordinal)
    return [
        f"{5_000_000 + ordinal}",
        f"{100_000 + rng.randrange(1 + ordinal // 4)}",
        f"S{rng.randrange(_PRACTITIONERS)}",
        starts.strftime("%Y-%m-%dT%H:%M:%SZ"),
        str(rng.choice((15, 30, 45))),
        rng.choice(_TYPES),
        rng.choice(("Yes", "No", "")),
        "rescheduled" if changed else "",
    ]


_CELLS: dict[Kind, Callable[[int, int, bool], list[str]]] = {
    "patient": _patient,
    "practitioner": _practitioner,
    "appointment": _appointment,
}
