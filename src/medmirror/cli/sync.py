"""``medmirror sync`` and ``medmirror backfill``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output, remarks
from medmirror.cli.options import Command, empty_fields, shared
from medmirror.cli.organizations import chosen, source_option
from medmirror.errors import UsageError
from medmirror.model import DEPRECATED_MODES, MODES

if TYPE_CHECKING:
    from medmirror.jobs import Job, Submission
    from medmirror.sync.organizations import Organization

_log = logging.getLogger(__name__)
_BUSY = 4
_THERE = ("pushed", "dropped", "made again", "agreed", "kept", "ignored", "conflicts", "queued_for_review", "waiting",
          "poisoned", "parted", "forgotten", "stale", "lost")  # fmt: skip
_wait = click.option("--wait", is_flag=True, help="Stay until it is done; do it here if no worker takes it.")


@click.command(cls=Command)
@click.argument("organization")
@source_option
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="incremental",
    show_default=True,
    help="basic, patients-only: deprecated.",
)
@click.option("--force-full", is_flag=True, help="Read everything, however fresh the mirror is.")
@click.option(
    "--allow-empty", is_flag=True, help="Read everything, and go on although a list that held records holds none now."
)
@click.option(
    "--accept-deletions", is_flag=True, help="Read everything; what two such syncs miss is gone, however much it is."
)
@empty_fields
@_wait
def sync(
    organization: str,
    source: str | None,
    mode: str,
    force_full: bool,
    allow_empty: bool,
    accept_deletions: bool,
    accept_empty_fields: bool,
    wait: bool,
) -> output.Answer:
    """Fetch what has changed in ORGANIZATION's practice system since its last sync.

    Nothing is done when it was synchronised less than 30 minutes ago, unless it is forced.

    Exit code: 0 done, skipped or queued; 3 done, but records are in the dead letters, fields were withheld, or one has
    more problems than MEDMIRROR_PROBLEM_LIMIT; 1 it failed; 4 another sync runs.
    """
    if mode in DEPRECATED_MODES:
        _log.warning("the mode %s is deprecated; use incremental", mode)
    consents = {
        "allow_empty": allow_empty,
        "accept_deletions": accept_deletions,
        "accept_empty_fields": accept_empty_fields,
    }
    args = {name: True for name, value in consents.items() if value}
    # Only a full sync can see what is gone, and the one that did not believe it may have been a moment ago.
    return _ask(organization, source, wait, mode=mode, force_full=force_full or bool(args), args=args)


@click.command(cls=Command)
@click.argument("organization")
@source_option
@click.option("--from", "first", metavar="YYYY-MM-DD", required=True, help="The first day whose records are wanted.")
@_wait
def backfill(organization: str, source: str | None, first: str, wait: bool) -> output.Answer:
    """Read ORGANIZATION's history from a day on, bit by bit, with what its rate budget leaves.

    Syncs go on meanwhile. A backfill that was stopped goes on where it was with the same command.

    Exit code: as of `medmirror sync`.
    """
    try:
        day = date.fromisoformat(first)
    except ValueError:
        raise UsageError(f"--from takes a day like 2019-01-01, not {first!r}.") from None
    args = {"from": day.isoformat()}
    return _ask(organization, source, wait, refuse=_without_history, kind="backfill", args=args)


def _without_history(clinic: Organization) -> None:
    """Raise UsageError when nothing of *clinic* can be filled in. Where its secret is not on this machine, its worker
    will say so."""
    from medmirror import remotes
    from medmirror.remotes.base import Around
    from medmirror.sync import organizations

    try:
        secret = organizations.read_secret(clinic.secret)
    except UsageError:
        return
    kind = remotes.kind(clinic.remote)
    remote = kind.open(clinic.organization_id, clinic.settings, secret, Around())  # asks nothing of it
    try:
        if not remote.capabilities.windowed:
            raise UsageError(
                f"The remote {clinic.remote} of {clinic.organization_id} has no list of appointments to fill in: its"
                " first sync reads everything."
            )
    finally:
        remote.close()


def _ask(
    organization: str,
    source: str | None,
    wait: bool,
    *,
    refuse: Callable[[Organization], None] = lambda clinic: None,
    **request: Any,
) -> output.Answer:
    from medmirror import jobs
    from medmirror.clock import SYSTEM
    from medmirror.db.database import open_database
    from medmirror.jobs import foreground, queue

    engine, settings = open_database(shared().settings())
    try:
        clinic = chosen(engine, organization, source)
        refuse(clinic)
        line = queue.of(settings)
        wanted = jobs.Request(organization, clinic.source, trigger="command", **request)
        asked = jobs.submit(engine, line, wanted, SYSTEM.now())
        if not wait or asked.outcome == "fresh":
            taken = asked.outcome not in ("queued", "coalesced") or foreground.is_taken(
                engine, asked.job.job_id, SYSTEM
            )
            return output.Answer(_shown(asked), lambda: _said(asked, taken), _BUSY if asked.outcome == "running" else 0)
        job = foreground.wait_until_done(engine, line, settings, asked.job.job_id, SYSTEM)
    finally:
        engine.dispose()
    counts = job.counts or {}
    code = 1 if job.state != "succeeded" else 3 if counts.get("rejected") or remarks.is_open(counts) else 0
    return output.Answer(_shown(asked._replace(job=job)), lambda: _done(job), code)


def _shown(asked: Submission) -> dict[str, Any]:
    return {"outcome": asked.outcome, "job": asked.job.as_dict()}


def _said(asked: Submission, taken: bool) -> Iterable[str]:
    job = asked.job
    words = {
        "queued": f"queued as job {job.job_id}",
        "coalesced": f"already queued as job {job.job_id}",
        "repeated": f"asked before: job {job.job_id}, {job.state}",
        "running": f"a sync runs already: job {job.job_id}, at step {job.step or 'begin'}",
        "fresh": "skipped: synchronised less than 30 minutes ago (--force-full to do it all the same)",
    }
    yield f"{job.organization_id}: {words[asked.outcome]}"
    if not taken:
        yield "No worker has taken it yet: start `medmirror worker` or `medmirror serve`, or use --wait to do it here."


def _done(job: Job) -> Iterable[Any]:
    counts: Mapping[str, Any] = job.counts or {}
    if job.state != "succeeded":
        yield f"{job.organization_id}: {job.state}: {job.error}: {job.message}"
        yield "see: medmirror dead-letters list" + (f", medmirror runs show {job.run_id}" if job.run_id else "")
        return
    yield str(counts.get("said", f"{job.organization_id}: done"))
    names = ("calls", "read", "inserted", "updated", "unchanged", "duplicate", "tombstoned", "rejected")
    yield output.table(names, [[counts.get(name, 0) for name in names]])
    if there := [name for name in _THERE if counts.get(name)]:
        yield output.table(
            [name.replace("_", " ") for name in there], [[counts[name] for name in there]], "destination"
        )
    if counts.get("rejected"):
        yield "Records that could not be stored are in the dead letters: medmirror dead-letters list"
    yield from remarks.lines(counts, f"medmirror sync {job.organization_id} --accept-empty-fields")
