"""The playbook for dead letters: the same steps for each group of letters.

First the type of the error; then the known issues (how letters of the same fingerprint ended here, then the shipped
list); then category and action. The states are those of a support conversation. The database answers the questions that
a person would be asked; where it cannot, the path ends with a person.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache, partial
from importlib.resources import files
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from medmirror.db import sql
from medmirror.jobs import deadletters
from medmirror.jobs.deadletters import Group, Selection
from medmirror.jobs.deadletters.fingerprint import ACCOUNT, BAD_DATA, THIRD_PARTY

CATEGORIES: Mapping[int, str] = {THIRD_PARTY: "third party", BAD_DATA: "bad data", ACCOUNT: "account"}

_statement = partial(sql.statement, "deadletters.sql")


class Precedents(NamedTuple):
    """The ends of earlier letters of a fingerprint: how many in each state, the last note and the last incident."""

    states: Mapping[str, int]
    note: str | None
    incident: str | None


class Issue(NamedTuple):
    """A known issue that fits: its title, the action, and its *origin* (``history`` or ``list``)."""

    title: str
    action: str
    origin: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the playbook for a group.

    *path*: the states it went through; *priority*: P1 to P3; *actions*: to be done in this order; *commands*: the
    commands for them; *letter*: the kind of letter that the clinics get first; *overdue*: a clinic should know by now.
    """

    group: Group
    category: str
    priority: str
    path: tuple[str, ...]
    issue: Issue | None
    actions: tuple[str, ...]
    commands: tuple[str, ...]
    letter: str
    overdue: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


def walk(conn: Connection, selection: Selection, now: datetime) -> list[Finding]:
    """Return the finding for each group of open letters of *selection*, class 1 first."""
    return [judge(group, precedents(conn, group.fingerprint), now) for group in deadletters.groups(conn, selection)]


def apply(engine: Engine, findings: Sequence[Finding], incident: str | None) -> None:
    """Write category, priority and first action of each finding to its letters, with the *incident* if given."""
    for finding in findings:
        note = f"{finding.priority} {finding.category}: {finding.actions[0]}"
        deadletters.annotate(engine, finding.group.ids, note, incident)


def precedents(conn: Connection, fingerprint: str) -> Precedents:
    """Return how earlier letters of *fingerprint* ended."""
    rows = conn.execute(_statement("seen before"), {"fingerprint": fingerprint}).all()
    note = next((row.note for row in rows if row.note), None)
    return Precedents(
        Counter(row.state for row in rows), note, next((row.incident for row in rows if row.incident), None)
    )


def judge(group: Group, precedents: Precedents, now: datetime) -> Finding:
    """Return the finding for *group*. Pure."""
    issue = _known_issue(group, precedents)
    recovered = group.records == 0 and group.recovered == group.letters
    # AnswerFromBooks stands for the question to the user whether it works again.
    path = ["AnalyzeProblem", "CheckKnowledge"]
    path += ["ProposeSolution"] if issue else ["AnswerFromBooks"]
    if not issue:
        path += ["ProposeSolution"] if recovered or group.number != BAD_DATA else ["EscalateToHuman"]
    actions, commands = _instructions(group, issue, recovered)
    due = group.contact_due
    return Finding(
        group,
        CATEGORIES[group.number],
        "P3" if recovered else "P1" if group.number == BAD_DATA else "P2",
        tuple(path),
        issue,
        tuple(actions),
        tuple(commands),
        "reconnect" if group.number == ACCOUNT else "initial",
        due is not None and due < now,
    )


def _known_issue(group: Group, precedents: Precedents) -> Issue | None:
    if precedents.states.get("resolved"):
        note = f": {precedents.note}" if precedents.note else ""
        resolved = precedents.states["resolved"]
        action = "Requeue one; if it succeeds, the rest."
        return Issue(f"Seen before, resolved by requeueing (letters: {resolved}){note}", action, "history")
    if precedents.states.get("ignored") and precedents.note:
        return Issue(f"Seen before, and left: {precedents.note}", "See whether the same holds for these.", "history")
    for issue in _shipped():
        if all(issue[name] == value for name, value in _facts(group).items() if name in issue):
            return Issue(str(issue["title"]), str(issue["action"]), "list")
    return None


def _facts(group: Group) -> dict[str, Any]:
    return {"error": group.error, "source": group.source, "class": group.number}


def _instructions(group: Group, issue: Issue | None, recovered: bool) -> tuple[list[str], list[str]]:
    """Return the actions for *group*, and the commands for them."""
    canary = f"medmirror dead-letters requeue --fingerprint {group.fingerprint} --limit 1"
    requeue_all = f"medmirror dead-letters requeue --fingerprint {group.fingerprint} --all"
    letter_id = group.ids[0]
    if recovered:
        ignore = f"medmirror dead-letters ignore --fingerprint {group.fingerprint} --note 'recovered'"
        return ["Each of these organisations has been synchronised since: close the letters."], [ignore]
    first_steps = [issue.action] if issue else []
    if group.number == THIRD_PARTY:
        first_steps = first_steps or ["Look at the other side's status page."]
        incident = f" (incident: {group.incident})" if group.incident else ", and link its incident (--incident URL)"
        return [*first_steps, f"Wait until it is over{incident}.", "Requeue one, then the rest."], [canary, requeue_all]
    if group.number == BAD_DATA:
        show_reject = [f"medmirror rejects show {number}" for number in group.reject_ids[:1]]
        payload_place = (
            "by reference: see the commands"
            if show_reject
            else "kept with the letter, if there was a key: --with-payload"
        )
        ticket = f"File a P1 ticket with fingerprint {group.fingerprint} and the full payload ({payload_place})."
        inspect = show_reject or [f"medmirror dead-letters show {letter_id} --with-payload"]
        return [ticket, *first_steps, "When it is fixed, requeue one, then the rest."], [*inspect, canary, requeue_all]
    letter = f"medmirror dead-letters letter {letter_id} --kind reconnect"
    steps = first_steps or ["Ask the practice to disconnect and reconnect (letter `reconnect`)."]
    warning = "This should be rare: if several organisations have it at once, look for a change on the other side."
    return [*steps, *([warning] if group.organizations > 1 else []), "Then requeue one."], [letter, canary]


@cache
def _shipped() -> tuple[Mapping[str, Any], ...]:
    text = files("medmirror.jobs.deadletters").joinpath("known_issues.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["issue"])
