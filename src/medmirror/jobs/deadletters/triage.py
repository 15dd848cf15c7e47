"""What to do about dead letters: the playbook, walked the same way each time.

Type from the error; known issues (how letters of the same fingerprint ended here, then the shipped list); category and
action. Its states are those of a support conversation, without the conversation: what would be asked of a person is
answered from the database, and where that is not enough it ends with a person.
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
from medmirror.jobs.deadletters import Chosen, Group
from medmirror.jobs.deadletters.fingerprint import ACCOUNT, BAD_DATA, THIRD_PARTY

CATEGORIES: Mapping[int, str] = {THIRD_PARTY: "third party", BAD_DATA: "bad data", ACCOUNT: "account"}

_statement = partial(sql.statement, "deadletters.sql")


class Seen(NamedTuple):
    """How letters of a fingerprint ended before: states and how often, the last note and incident that say why."""

    states: Mapping[str, int]
    note: str | None
    incident: str | None


class Issue(NamedTuple):
    """A known issue that fits: what it is, what to do, and where that is known from (``history`` or ``list``)."""

    title: str
    action: str
    origin: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What the playbook says of a group. *path*: the states it went through; *priority*: P1 to P3; *actions*: what to
    do, in this order; *commands*: what to type for it; *letter*: which one the clinics get first; *overdue*: one of
    them should have been told by now."""

    group: Group
    category: str
    priority: str
    path: tuple[str, ...]
    issue: Issue | None
    actions: tuple[str, ...]
    commands: tuple[str, ...]
    letter: str
    overdue: bool

    @property
    def escalated(self) -> bool:
        """Whether a person must look at it first."""
        return self.path[-1] == "EscalateToHuman"

    def as_dict(self) -> dict[str, Any]:
        """It as plain values, for JSON."""
        return asdict(self)


def walk(conn: Connection, chosen: Chosen, now: datetime) -> list[Finding]:
    """The playbook for each group of open letters that are meant, class 1 first."""
    return [judge(group, seen(conn, group.fingerprint), now) for group in deadletters.groups(conn, chosen)]


def apply(engine: Engine, findings: Sequence[Finding], incident: str | None) -> None:
    """Note the category, the priority and the first action in each group's letters, with the *incident* if given."""
    for one in findings:
        note = f"{one.priority} {one.category}: {one.actions[0]}"
        deadletters.annotate(engine, one.group.ids, note, incident)


def seen(conn: Connection, fingerprint: str) -> Seen:
    """How letters of *fingerprint* ended before."""
    rows = conn.execute(_statement("seen before"), {"fingerprint": fingerprint}).all()
    note = next((row.note for row in rows if row.note), None)
    return Seen(Counter(row.state for row in rows), note, next((row.incident for row in rows if row.incident), None))


def judge(group: Group, before: Seen, now: datetime) -> Finding:
    """What the playbook says of *group*. Pure."""
    issue = _known(group, before)
    recovered = group.records == 0 and group.recovered == group.letters
    # AnswerFromBooks stands for the question to the user: whether it works for him again.
    path = ["AnalyzeProblem", "CheckKnowledge"]
    path += ["ProposeSolution"] if issue else ["AnswerFromBooks"]
    if not issue:
        path += ["ProposeSolution"] if recovered or group.number != BAD_DATA else ["EscalateToHuman"]
    actions, commands = _ways(group, issue, recovered)
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


def _known(group: Group, before: Seen) -> Issue | None:
    if before.states.get("resolved"):
        said = f": {before.note}" if before.note else ""
        times = before.states["resolved"]
        action = "Requeue one; if it succeeds, the rest."
        return Issue(f"Seen before, resolved by requeueing (letters: {times}){said}", action, "history")
    if before.states.get("ignored") and before.note:
        return Issue(f"Seen before, and left: {before.note}", "See whether the same holds for these.", "history")
    for one in _shipped():
        if all(one[name] == value for name, value in _facts(group).items() if name in one):
            return Issue(str(one["title"]), str(one["action"]), "list")
    return None


def _facts(group: Group) -> dict[str, Any]:
    return {"error": group.error, "source": group.source, "class": group.number}


def _ways(group: Group, issue: Issue | None, recovered: bool) -> tuple[list[str], list[str]]:
    """What to do about *group*, and what to type for it."""
    canary = f"medmirror dead-letters requeue --fingerprint {group.fingerprint} --limit 1"
    rest = f"medmirror dead-letters requeue --fingerprint {group.fingerprint} --all"
    first = group.ids[0]
    if recovered:
        done = f"medmirror dead-letters ignore --fingerprint {group.fingerprint} --note 'recovered'"
        return ["Each of these organisations has been synchronised since: close the letters."], [done]
    own = [issue.action] if issue else []
    if group.number == THIRD_PARTY:
        own = own or ["Look at the other side's status page."]
        incident = f" (incident: {group.incident})" if group.incident else ", and link its incident (--incident URL)"
        return [*own, f"Wait until it is over{incident}.", "Requeue one, then the rest."], [canary, rest]
    if group.number == BAD_DATA:
        shown = [f"medmirror rejects show {number}" for number in group.reject_ids[:1]]
        where = (
            "by reference: see the commands" if shown else "kept with the letter, if there was a key: --with-payload"
        )
        ticket = f"File a P1 ticket with fingerprint {group.fingerprint} and the full payload ({where})."
        look = shown or [f"medmirror dead-letters show {first} --with-payload"]
        return [ticket, *own, "When it is fixed, requeue one, then the rest."], [*look, canary, rest]
    letter = f"medmirror dead-letters letter {first} --kind reconnect"
    ask = own or ["Ask the practice to disconnect and reconnect (letter `reconnect`)."]
    rare = "This should be rare: if several organisations have it at once, look for a change on the other side."
    return [*ask, *([rare] if group.organizations > 1 else []), "Then requeue one."], [letter, canary]


@cache
def _shipped() -> tuple[Mapping[str, Any], ...]:
    text = files("medmirror.jobs.deadletters").joinpath("known_issues.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["issue"])
