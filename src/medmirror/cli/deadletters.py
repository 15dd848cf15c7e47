"""``medmirror dead-letters``: jobs and records that were given up, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output
from medmirror.cli.options import Group, shared
from medmirror.cli.show import database
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from medmirror.jobs.deadletters import Letter, Selection
    from medmirror.jobs.deadletters.letters import Message
    from medmirror.jobs.deadletters.requeueing import Requeued
    from medmirror.jobs.deadletters.triage import Finding

_STATES = click.Choice(["open", "requeued", "resolved", "ignored"])
_LETTERS = click.Choice(["initial", "resolved", "reconnect"])

Made = Callable[..., Any]


@click.group(name="dead-letters", cls=Group)
def dead_letters() -> None:
    """Jobs and records that were given up: list, triage, requeue one, then all."""


def _which(command: Made) -> Made:
    """The options that choose letters."""
    for option in (
        click.option("--organization", "organization_id", metavar="ORG", help="Only of this organisation."),
        click.option("--class", "number", type=click.IntRange(1, 3), help="1 other side, 2 bad data, 3 account."),
        click.option("--fingerprint", metavar="HEX", help="Only of this cause."),
    ):
        command = option(command)
    return command


def _chosen(
    ids: tuple[int, ...], fingerprint: str | None, number: int | None, organization_id: str | None
) -> Selection:
    from medmirror.jobs.deadletters import Selection

    return Selection(list(ids) or None, fingerprint, number, organization_id)


@dead_letters.command("list")
@_which
@click.option("--state", type=_STATES, multiple=True, help="Of these states; else open ones.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most so many.")
def list_letters(state: tuple[str, ...], limit: int, **which: Any) -> output.Answer:
    """List dead letters, oldest first."""
    from medmirror.clock import SYSTEM
    from medmirror.jobs import deadletters

    with database() as engine, engine.connect() as conn:
        letters = deadletters.find(conn, _chosen((), **which), states=state or ("open",), limit=limit)
        counts = deadletters.counts(conn, SYSTEM.now())
    data = {"counts": counts._asdict(), "letters": [letter.as_dict() for letter in letters]}
    return output.Answer(data, lambda: _list(letters, counts.open, counts.overdue))


def _list(letters: list[Letter], open_: int, overdue: int) -> Iterable[Any]:
    if not letters:
        yield "There are no such dead letters."
        return
    columns = ["letter", "organisation", "source", "class", "cause", "error", "state", "first failed", "tell by"]
    yield output.table(
        columns,
        [
            (str(letter.dead_letter_id), letter.organization_id, letter.source, letter.number, letter.fingerprint,
             letter.error, letter.state, letter.first_failed_at, "told" if letter.contacted_at else letter.contact_due)
            for letter in letters
        ],
    )  # fmt: skip
    late = f", {overdue:,} of them should have been told to their clinic by now" if overdue else ""
    yield f"{open_:,} open{late}." + (" What to do: medmirror dead-letters triage" if open_ else "")


@dead_letters.command("show")
@click.argument("dead_letter_id", metavar="ID", type=int)
@click.option("--with-payload", is_flag=True, help="Its record, too, if it was kept; needs MEDMIRROR_PAYLOAD_KEY.")
def show_letter(dead_letter_id: int, with_payload: bool) -> output.Answer:
    """Tell all about dead letter ID: its error, its job and what the job said."""
    from medmirror import jobs
    from medmirror.jobs import deadletters

    with database() as engine, engine.connect() as conn:
        letter = deadletters.get(conn, dead_letter_id)
        lines = jobs.log_of(conn, letter.job_id)
        payload = deadletters.payload_of(conn, dead_letter_id) if with_payload else None
    content = None if payload is None else payload.decode("utf-8", "backslashreplace")
    data = {**letter.as_dict(), "log": [line._asdict() for line in lines]}
    data |= {"payload": content} if with_payload else {}

    def people() -> Iterable[Any]:
        yield output.facts({**letter.as_dict(), "dead_letter_id": str(dead_letter_id)}.items())
        yield output.table(["at", "level", "said"], lines)
        if letter.reject_id is not None:
            yield f"The record's bytes: medmirror rejects show {letter.reject_id}"
        if with_payload:
            yield "No payload was kept." if content is None else output.safe(content)

    return output.Answer(data, people)


@dead_letters.command("requeue")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=int)
@_which
@click.option("--limit", default=1, show_default=True, type=click.IntRange(1), help="At most so many: one to try.")
@click.option("--all", "everything", is_flag=True, help="All that match.")
def requeue(ids: tuple[int, ...], limit: int, everything: bool, **which: Any) -> output.Answer:
    """Have dead letters done again: one as a canary, and when it succeeds, --all.

    Exit code: 0 done, 3 some could not be requeued.
    """
    from medmirror.clock import SYSTEM
    from medmirror.db.database import open_database
    from medmirror.jobs import queue
    from medmirror.jobs.deadletters import requeueing

    if not ids and not any(which.values()) and not everything:
        raise UsageError("Say which: IDs, --fingerprint, --class, --organization, or --all for every open one.")
    engine, settings = open_database(shared().settings(workers=1))
    line = queue.of(settings)
    most = None if everything or ids else limit
    try:
        done = requeueing.requeue(engine, line, _chosen(ids, **which), SYSTEM.now(), limit=most, settings=settings)
    finally:
        line.close()
        engine.dispose()
    bad = [outcome for outcome in done if outcome.outcome in ("refused", "failed")]
    data = {"requeued": [outcome._asdict() for outcome in done]}
    return output.Answer(data, lambda: _requeued(done), 3 if bad else 0)


def _requeued(done: list[Requeued]) -> Iterable[Any]:
    if not done:
        yield "There was nothing to requeue."
        return
    yield output.table(["letter", "outcome", "job", "why"], [(str(n), what, job, why) for n, what, job, why in done])
    yield "See what becomes of it: medmirror dead-letters list --state requeued --state resolved --state open"


@dead_letters.command("ignore")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=int)
@_which
@click.option("--note", required=True, help="Why: whoever meets the same cause later reads it.")
def ignore(ids: tuple[int, ...], note: str, **which: Any) -> output.Answer:
    """Close dead letters without doing them again."""
    from medmirror.jobs import deadletters

    if not ids and not any(which.values()):
        raise UsageError("Say which: IDs, --fingerprint, --class or --organization.")
    with database() as engine:
        with engine.connect() as conn:
            letters = deadletters.find(conn, _chosen(ids, **which), limit=1_000_000)
        closed = deadletters.close(engine, [letter.dead_letter_id for letter in letters], "ignored", note)
    return output.Answer({"ignored": closed}, lambda: [f"ignored: {len(closed):,}; {note}"])


@dead_letters.command("triage")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=int)
@_which
@click.option("--apply", "write", is_flag=True, help="Note category, priority and action in the letters.")
@click.option("--incident", metavar="LINK", help="With --apply: the ticket or status page that belongs to them.")
def triage(ids: tuple[int, ...], write: bool, incident: str | None, **which: Any) -> output.Answer:
    """Walk the playbook for each cause: known? whose fault? what now?"""
    from medmirror.clock import SYSTEM
    from medmirror.jobs.deadletters import triage as triaging

    if incident and not write:
        raise UsageError("--incident is noted with --apply.")
    with database() as engine:
        with engine.connect() as conn:
            findings = triaging.walk(conn, _chosen(ids, **which), SYSTEM.now())
        if write:
            triaging.apply(engine, findings, incident)
    return output.Answer({"findings": [finding.as_dict() for finding in findings]}, lambda: _triaged(findings, write))


def _triaged(findings: list[Finding], written: bool) -> Iterable[Any]:
    if not findings:
        yield "There are no open dead letters."
    for finding in findings:
        group = finding.group
        yield f"{finding.priority} {finding.category}: {group.error} of {group.source} {group.feed or ''}".rstrip()
        yield output.facts(
            [
                ("cause", group.fingerprint),
                (
                    "letters",
                    f"{group.letters:,} of {group.organizations:,} organisations: {', '.join(group.names[:5])}",
                ),
                ("first failed", group.first_failed_at),
                ("tell clinics by", f"{output.word(group.contact_due)}{' - OVERDUE' if finding.overdue else ''}"),
                ("last message", group.message),
                ("known", f"{finding.issue.title} ({finding.issue.origin})" if finding.issue else "no"),
                ("incident", group.incident),
                ("decided", " > ".join(finding.path)),
            ]
        )
        yield from (f"  {number}. {action}" for number, action in enumerate(finding.actions, 1))
        yield from (f"     $ {command}" for command in finding.commands)
        yield ""
    if findings and written:
        yield "Noted in the letters."


@dead_letters.command("letter")
@click.argument("dead_letter_id", metavar="ID", type=int)
@click.option("--kind", type=_LETTERS, default="initial", show_default=True, help="Which letter.")
@click.option("--sent", is_flag=True, help="Note that the clinic has been told now.")
def letter(dead_letter_id: int, kind: str, sent: bool) -> output.Answer:
    """Write the letter to the clinic about dead letter ID."""
    from medmirror.clock import SYSTEM
    from medmirror.jobs import deadletters
    from medmirror.jobs.deadletters import letters
    from medmirror.sync import organizations

    with database() as engine:
        with engine.connect() as conn:
            dead = deadletters.get(conn, dead_letter_id)
            organization = organizations.get(conn, dead.organization_id, dead.source)
        message = letters.render(dead, kind, (organization or organizations.Organization("", "", "")).tz)
        if sent:
            deadletters.contacted(engine, dead_letter_id, SYSTEM.now())
    data = {"dead_letter_id": dead_letter_id, "kind": kind, "sent": sent, **message._asdict()}
    return output.Answer(data, lambda: _letter(message, sent))


def _letter(message: Message, sent: bool) -> Iterable[str]:
    yield f"Subject: {message.subject}"
    yield ""
    yield message.body
    if not sent:
        yield "When it is sent, run the same command with --sent."
