"""What of Cliniko a table of paths cannot say."""

from __future__ import annotations

from typing import Any


def _status_up(values: tuple[Any, Any, Any]) -> dict[str, Any]:
    """(cancelled_at, did_not_arrive, patient_arrived) as a status."""
    cancelled, absent, arrived = values
    code = "CANCELLED" if cancelled else "NO_SHOW" if absent else "ARRIVED" if arrived else "BOOKED"
    return {"code": code, "raw": None}


def _status_down(status: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The flags of a status; that it was cancelled is told by the time at which it was."""
    flags = {"NO_SHOW": (True, False), "ARRIVED": (False, True), "BOOKED": (False, False), "CANCELLED": (None, None)}
    return (None, *flags[status["code"]])


appointment_status = (_status_up, _status_down)
