"""Converters for the parts of Cliniko's records that a table of paths cannot map."""

from __future__ import annotations

from typing import Any


def _status_up(values: tuple[Any, Any, Any]) -> dict[str, Any]:
    """(cancelled_at, did_not_arrive, patient_arrived) as a status."""
    cancelled, absent, arrived = values
    code = "CANCELLED" if cancelled else "NO_SHOW" if absent else "ARRIVED" if arrived else "BOOKED"
    return {"code": code, "raw": None}


def _status_down(status: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The flags of a status; a cancellation has no flag but a time of its own."""
    flags = {"NO_SHOW": (True, False), "ARRIVED": (False, True), "BOOKED": (False, False), "CANCELLED": (None, None)}
    return (None, *flags[status["code"]])


appointment_status = (_status_up, _status_down)
