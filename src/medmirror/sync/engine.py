"""One sync of one organisation, from its lock to its state: the algorithm.

    hold -> open the remote, fix the upper bound -> read each list: (pages -> tables + watermark, one transaction)*
         -> the destination, if there is one -> state -> done

Whatever stops it, on whichever step: what was committed stays and is known to the watermarks, the rest is read again.
Nothing is stored twice, because records are registers of their versions.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import Any

from medmirror import remotes
from medmirror.db import retry, runs
from medmirror.errors import (
    MedmirrorError,
    StoreError,
)
from medmirror.remotes.base import Remote
from medmirror.sync import backfill, incremental, organizations, state
from medmirror.sync.lock import Hold
from medmirror.sync.organizations import Organization
from medmirror.sync.session import Session, Tools, Wanted

_log = logging.getLogger(__name__)
_BACKFILL_SHARE = 0.5  # of each window of the rate budget, so that syncs are not disturbed


def run(tools: Tools, one: Organization, wanted: Wanted) -> dict[str, Any]:
    """Do what is *wanted* for *one*; return the counts that the database reported, and a sentence about it (*said*).

    Raises SyncRunning when another sync of it runs, SyncPaused and SettingsChanged when that happens, and every error
    of ``remotes.base``; the watermarks then say what is done, and the same call goes on from there.
    """
    with Hold(tools.settings.dsn_text, one, apart=wanted.kind == "backfill") as hold:
        tools.report("held", {})
        shown = {"organization": one.organization_id, "mode": wanted.mode}
        with runs.record(tools.engine, wanted.kind, one.source, shown) as run:
            counts: Counter[str] = Counter()
            run.counts = lambda: dict(counts)
            try:
                with closing(_open(tools, one, wanted, counts)) as remote:
                    session = Session(tools, one, wanted, remote, hold, run.run_id, counts)
                    said = backfill.run(session) if wanted.kind == "backfill" else incremental.run(session)
            except MedmirrorError as problem:
                _note_failure(tools, one, problem)
                raise
            run.status = "rejects" if counts["rejected"] else "done"
    return {**counts, "run_id": run.run_id, "said": said}


def _open(tools: Tools, one: Organization, wanted: Wanted, counts: Counter[str]) -> Remote:
    kind = remotes.kind(one.remote)
    made = tools.around(one, kind, _BACKFILL_SHARE if wanted.kind == "backfill" else 1.0)

    def called(status: int) -> None:
        counts["calls"] += 1
        made.called(status)

    secret = organizations.read_secret(one.secret)
    return kind.open(one.organization_id, one.settings, secret, replace(made, called=called))


def _note_failure(tools: Tools, one: Organization, error: MedmirrorError) -> None:
    """Count a failure of *one*. What is only put off is none; and a database that is gone can be told nothing."""
    if error.put_off or isinstance(error, StoreError):
        return
    retry.in_transaction(tools.engine, lambda conn: state.failed(conn, one, error, tools.clock.now()))
