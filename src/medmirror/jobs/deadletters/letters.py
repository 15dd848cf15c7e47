"""The letters to a clinic whose synchronisation failed: within 24 hours, after the solution, and to ask for help.

They hold nothing of a patient, and no text of an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from string import Template
from typing import NamedTuple
from zoneinfo import ZoneInfo

from medmirror.errors import UsageError
from medmirror.jobs.deadletters import Letter
from medmirror.jobs.deadletters.fingerprint import ACCOUNT, BAD_DATA, THIRD_PARTY

KINDS = ("initial", "resolved", "reconnect")

_WHAT: Mapping[int, str] = {
    THIRD_PARTY: "The other side could not be reached, or answered with an error of its own.",
    BAD_DATA: "Some of the data could not be processed.",
    ACCOUNT: "Our access was not accepted.",
}
_OURS = "A setting on our side is missing or wrong."  # of class 3, but nothing was refused
_ACTION: Mapping[int, str] = {
    THIRD_PARTY: "we watch the other side's service, and fetch everything that has changed as soon as it answers.",
    BAD_DATA: "our engineers have been told, with high priority; what is missing is kept, and processed again.",
    ACCOUNT: "we look into it, and write to you if the connection has to be renewed.",
}
_ALL_LATE = "changes made since then are not in the copy yet; nothing is lost."
_ONE_LATE = "single records are not in the copy yet, all others are; nothing is lost."
_SYSTEMS = {"cliniko": "Cliniko", "fhir": "FHIR", "sql": "its database", "csv": "its exports"}


class Message(NamedTuple):
    """A letter, ready to be sent."""

    subject: str
    body: str


def render(letter: Letter, kind: str, zone: ZoneInfo) -> Message:
    """Return the message of that *kind* about *letter*, with times in *zone*.

    Raises UsageError for an unknown kind, and for ``resolved`` when the letter is not.
    """
    if kind not in KINDS:
        raise UsageError(f"There is no letter {kind!r}; there are {', '.join(KINDS)}.")
    if kind == "resolved" and letter.state != "resolved":
        raise UsageError(f"Dead letter {letter.dead_letter_id} is {letter.state}, not resolved; requeue it first.")
    effect = _ONE_LATE if letter.scope == "record" else _ALL_LATE
    text = Template(
        files("medmirror.jobs.deadletters").joinpath("lettertexts", f"{kind}.txt").read_text(encoding="utf-8")
    )
    message = text.substitute(
        organization=letter.organization_id,
        system=_SYSTEMS.get(letter.source, letter.source),
        reference=f"DL-{letter.dead_letter_id}",
        first_failed=_time(letter.first_failed_at, zone),
        what=_OURS if letter.error == UsageError.__name__ else _WHAT[letter.number],
        effect=effect if kind == "initial" else effect.capitalize(),
        action=_ACTION[letter.number],
    )
    subject, _, body = message.partition("\n\n")
    return Message(subject.removeprefix("Subject: "), body)


def _time(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{local.day} {local:%B %Y at %H:%M} ({zone.key})"
