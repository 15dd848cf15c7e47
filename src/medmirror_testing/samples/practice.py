"""A made-up practice with a pharmacy, in a relational database of any system: patients, appointments, scripts, stock.

Its tables are as such systems have grown: dates that may be missing, money as DECIMAL, flags as numbers, a key of two
columns, a key of text, times in the clinic's own zone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CHAR,
    Column,
    Connection,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
)

from medmirror_testing.samples.people import person

_OPENED = datetime(2026, 1, 5, 8, 0)
_AT_ONCE = 1_000  # rows a statement

METADATA = MetaData()
PATIENTS = Table(
    "patients",
    METADATA,
    Column("PatientID", Integer, primary_key=True, autoincrement=False),
    Column("Title", String(10)),
    Column("FirstName", String(60)),
    Column("MiddleName", String(60)),
    Column("LastName", String(60), nullable=False),
    Column("DOB", Date),
    Column("Sex", CHAR(1)),
    Column("MobilePhone", String(30)),
    Column("Email", String(120)),
    Column("Address1", String(120)),
    Column("Suburb", String(60)),
    Column("State", String(10)),
    Column("Postcode", String(10)),
    Column("MedicareNo", String(20)),
    Column("Balance", Numeric(10, 2)),
    Column("Notes", Text),
    Column("Active", SmallInteger, nullable=False),
    Column("ModifiedAt", DateTime),
)
APPOINTMENTS = Table(
    "appointments",
    METADATA,
    Column("AppointmentID", Integer, primary_key=True, autoincrement=False),
    Column("PatientID", Integer, nullable=False),
    Column("Provider", String(60)),
    Column("StartTime", DateTime, nullable=False),
    Column("EndTime", DateTime),
    Column("Status", String(20)),
    Column("Reason", String(200)),
    Column("ModifiedAt", DateTime),
    Index("appointments_patient", "PatientID"),
)
PRESCRIPTIONS = Table(
    "prescriptions",
    METADATA,
    Column("ScriptNo", String(12), primary_key=True),
    Column("RefillNo", Integer, primary_key=True, autoincrement=False),
    Column("PatientID", Integer, nullable=False),
    Column("ItemCode", String(20)),
    Column("DrugName", String(120)),
    Column("Strength", String(40)),
    Column("Quantity", Numeric(10, 3)),
    Column("Directions", Text),
    Column("Prescriber", String(60)),
    Column("DateWritten", Date),
    Column("DateFilled", DateTime),
    Column("RepeatsLeft", SmallInteger),
    Column("Status", CHAR(1)),
    Column("ModifiedAt", DateTime),
)
INVENTORY = Table(
    "inventory_items",
    METADATA,
    Column("ItemCode", String(20), primary_key=True),
    Column("Description", String(120), nullable=False),
    Column("OnHand", Numeric(12, 3)),
    Column("ReorderLevel", Numeric(12, 3)),
    Column("UnitCost", Numeric(12, 4)),
    Column("Barcode", String(20)),
    Column("Expiry", Date),
    Column("ModifiedAt", DateTime),
)

_DRUGS = (
    ("AMOX500", "Amoxicillin", "500 mg"),
    ("ATOR40", "Atorvastatin", "40 mg"),
    ("METF1000", "Metformin", "1000 mg"),
    ("PERI5", "Perindopril", "5 mg"),
    ("SALB100", "Salbutamol", "100 microgram"),
    ("SERT50", "Sertraline", "50 mg"),
)
_PROVIDERS = ("Room 1", "Room 2", "Nurse")
_STATUS = ("Booked", "Arrived", "Completed", "Cancelled", "DNA")


def write_practice(
    connection: Connection, patients: int, *, first: int = 1, change: float = 0.0, generation: int = 0, seed: int = 0
) -> None:
    """Make the tables, where they are not there, and write *patients* patients, numbered from *first* on, with what
    belongs to them: two appointments and a script with two refills each, and the stock of six drugs.

    In a later *generation* every row was modified a day later, and of the share *change* of them something else is
    different. The caller commits.
    """
    METADATA.create_all(connection)
    rng = random.Random(f"{seed} {first} {patients}")
    moved = timedelta(days=generation)
    for table, rows in (
        (PATIENTS, (_patient(number, rng, change, seed) for number in range(first, first + patients))),
        (APPOINTMENTS, (row for number in range(first, first + patients) for row in _visits(number, rng, change))),
        (PRESCRIPTIONS, (row for number in range(first, first + patients) for row in _scripts(number, rng, change))),
        (INVENTORY, (_stock(number, rng, change) for number in range(len(_DRUGS)))),
    ):
        waiting: list[dict[str, Any]] = []
        for row in rows:
            waiting.append({**row, "ModifiedAt": row["ModifiedAt"] + moved})
            if len(waiting) == _AT_ONCE:
                connection.execute(table.insert(), waiting)
                waiting = []
        if waiting:
            connection.execute(table.insert(), waiting)


def _patient(number: int, rng: random.Random, change: float, seed: int) -> dict[str, Any]:
    who = person(number, seed)
    return {
        "PatientID": number,
        "Title": who.title,
        "FirstName": who.given,
        "MiddleName": who.middle or None,
        "LastName": who.family,
        "DOB": who.birth_date if number % 11 else None,
        "Sex": who.sex[0].upper(),
        "MobilePhone": who.phone,
        "Email": who.email,
        "Address1": who.street,
        "Suburb": who.city,
        "State": who.state,
        "Postcode": who.post_code,
        "MedicareNo": who.identifier,
        "Balance": Decimal(rng.randrange(-5_000, 20_000)) / 100,
        "Notes": "Moved house." if rng.random() < change else "Prefers mornings.\nCall first.",
        "Active": 1,
        "ModifiedAt": _OPENED + timedelta(minutes=number % 10_000),
    }


def _visits(number: int, rng: random.Random, change: float) -> Iterator[dict[str, Any]]:
    for visit in range(2):
        start = _OPENED + timedelta(days=(number * 7 + visit * 90) % 300, minutes=15 * (number % 30))
        yield {
            "AppointmentID": number * 2 + visit,
            "PatientID": number,
            "Provider": _PROVIDERS[number % len(_PROVIDERS)],
            "StartTime": start,
            "EndTime": start + timedelta(minutes=15),
            "Status": _STATUS[(number + visit) % len(_STATUS)],
            "Reason": "Follow-up" if rng.random() < change else "Review",
            "ModifiedAt": _OPENED + timedelta(minutes=number % 10_000),
        }


def _scripts(number: int, rng: random.Random, change: float) -> Iterator[dict[str, Any]]:
    code, name, strength = _DRUGS[number % len(_DRUGS)]
    for refill in range(2):
        written = _OPENED + timedelta(days=number % 200)
        yield {
            "ScriptNo": f"RX{number:07d}",
            "RefillNo": refill,
            "PatientID": number,
            "ItemCode": code,
            "DrugName": name,
            "Strength": strength,
            "Quantity": Decimal(30),
            "Directions": "Take two daily." if rng.random() < change else "Take one daily.",
            "Prescriber": _PROVIDERS[0],
            "DateWritten": written.date(),
            "DateFilled": written + timedelta(days=30 * refill, hours=3) if refill == 0 or number % 2 else None,
            "RepeatsLeft": 5 - refill,
            "Status": "DP"[number % 2],
            "ModifiedAt": written,
        }


def _stock(number: int, rng: random.Random, change: float) -> dict[str, Any]:
    code, name, strength = _DRUGS[number]
    return {
        "ItemCode": code,
        "Description": f"{name} {strength}",
        "OnHand": Decimal(99) if rng.random() < change else Decimal(100 + number) / 2,
        "ReorderLevel": Decimal(20),
        "UnitCost": Decimal(12_345 + number) / 10_000,
        "Barcode": f"93{number:011d}",
        "Expiry": (_OPENED + timedelta(days=400 + number)).date(),
        "ModifiedAt": _OPENED,
    }
