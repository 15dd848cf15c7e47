"""A sync of one organisation, from its lock to its state: the algorithm.

    hold -> open the remote, fix the upper bound -> read each list: (pages -> tables + watermark, one transaction)*
         -> the destination, if there is one -> state -> done

A sync may be interrupted at any step. Everything committed stays and is known to the watermarks, and everything else
is read again. Nothing is stored twice, because records are registers of their versions.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

from medmirror import remotes
from medmirror.db import retry, runs
from medmirror.errors import (
    MedmirrorError,
    StoreError,
)
from medmirror.ingest import withheld
from medmirror.model import Remarks
from medmirror.remotes.base import Remote
from medmirror.settings import MappingSettings, read
from medmirror.sync import backfill, incremental, organizations, state
from medmirror.sync.organizations import Organization
from medmirror.sync.session import Session, SyncRequest, Tools, held

_log = logging.getLogger(__name__)

_BACKFILL_SHARE = 0.5  # of each window of the rate budget, so that syncs are not disturbed


def run(tools: Tools, organization: Organization, request: SyncRequest) -> dict[str, Any]:
    """Do *request* for *organization*; return the counts that the database reported, and a sentence about the run
    (*said*).

    Raises SyncRunning when another sync of it runs, SyncPaused and SettingsChanged when that happens, and every error
    of ``remotes.base``. The watermarks then stand where reading ended, and the same call goes on from there.
    """
    with held(tools.settings.dsn_text, organization, apart=request.kind == "backfill") as hold:
        tools.report("held", {})
        parameters = {"organization": organization.organization_id, "mode": request.mode}
        with runs.record(tools.engine, request.kind, organization.source, parameters) as run:
            counts, remarks = Counter[str](), Remarks.nothing()
            loads: list[int] = []
            lacking: list[str] = []
            limit = read(MappingSettings).problem_limit
            run.counts = lambda: {**counts, **({"loads": loads} if loads else {}), **_remarked(remarks, limit)}
            try:
                with closing(_open(tools, organization, request, counts, lacking.append)) as remote:
                    session = Session(
                        tools, organization, request, remote, hold, run.run_id, counts, remarks, loads, lacking
                    )
                    summary = backfill.run(session) if request.kind == "backfill" else incremental.run(session)
            except MedmirrorError as error:
                _note_failure(tools, organization, error)
                raise
            remarks.withheld.update(withheld.open_of(tools.engine, organization.organization_id, organization.source))
            _tell(organization, remarks, limit)
            remarked = _remarked(remarks, limit)
            run.status = "rejects" if counts["rejected"] or remarks.withheld else "done"
    return {**counts, **remarked, "run_id": run.run_id, "said": summary}


def _tell(organization: Organization, remarks: Remarks, limit: float) -> None:
    """Log what a person has to look at: it is also what the status page shows of the job."""
    problems = remarks.named("problems")
    for name in remarks.over(limit):
        _log.warning("%s: %d x %s", organization.organization_id, problems[name], name)
    for name, times in remarks.named("withheld").items():
        _log.warning(
            "%s: withheld: %s was filled before and is empty now in %d records; the old values stay; if they are gone,"
            " sync with --accept-empty-fields",
            *(organization.organization_id, name, times),
        )


def _remarked(remarks: Remarks, limit: float) -> dict[str, Any]:
    """What mapping said of the records, as the counts of a run have it; what is empty is left out."""
    facts = {
        "problems": remarks.named("problems"),
        "over_limit": remarks.over(limit),
        "withheld_fields": remarks.named("withheld"),
    }
    return {name: value for name, value in facts.items() if value}


def _open(
    tools: Tools,
    organization: Organization,
    request: SyncRequest,
    counts: Counter[str],
    lacking: Callable[[str], None],
) -> Remote:
    kind = remotes.kind(organization.remote)
    around = tools.around(organization, kind, _BACKFILL_SHARE if request.kind == "backfill" else 1.0)

    def called(status: int) -> None:
        counts["calls"] += 1
        around.called(status)

    def unread() -> None:
        counts["unread"] += 1

    secret = organizations.read_secret(organization.secret)
    told = replace(around, called=called, unread=unread, lacking=lacking)
    return kind.open(organization.organization_id, organization.settings, secret, told)


def _note_failure(tools: Tools, organization: Organization, error: MedmirrorError) -> None:
    """Count a failure of *organization*.

    An error that only puts the sync off is no failure; and nothing can be written to a database that is gone.
    """
    if error.put_off or isinstance(error, StoreError):
        return
    retry.in_transaction(tools.engine, lambda conn: state.failed(conn, organization, error, tools.clock.now()))
