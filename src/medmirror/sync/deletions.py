"""Deletions inferred from full syncs: records that were not listed any more, though no list of deletions names them.

The rule is that of the nightly (``ingest/deletions.py``): a record that two whole passes in a row have missed is taken
for deleted, and a record that is listed again is alive again. Where more than a few would be deleted at once nothing
is written, because a key that lost its permissions looks the same. Where a record of the list could not be read
nothing is missed either, because it may be that one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable

from sqlalchemy import Engine

from medmirror.ingest.deletions import Limits, Pass, judge
from medmirror.model import Certificate
from medmirror.sync.organizations import Organization

_log = logging.getLogger(__name__)


USUAL = Limits()
ANY = Limits(count=2**31 - 1, share=100.0)
"""How many may go at once: usually, and when a person has said that whatever is missing is gone."""


def infer(
    engine: Engine,
    organization: Organization,
    run_id: int,
    feeds: Iterable[str],
    file_ids: Collection[int],
    limits: Limits = USUAL,
) -> Counter[str]:
    """Compare the records of *feeds* that the full sync *run_id* listed with those stored; return the counts.

    *file_ids* are the sync's files in the ledger. The counts are: ``missing`` since this pass, ``inferred`` (now taken
    for deleted), and ``withheld`` (too many at once). A transaction for each feed. Running it again changes nothing.
    """
    certificates = {feed: Certificate((feed,), True, None, 0, ()) for feed in feeds}
    full_pass = Pass(organization.organization_id, organization.source, tuple(sorted(file_ids)), str(run_id).encode())
    counts: Counter[str] = Counter()
    for verdict in judge(engine, full_pass, certificates, limits, run_id):
        if not verdict.whole:
            _log.warning(
                "%s: nothing is missed of %s: %s",
                organization.organization_id,
                verdict.feed,
                "; ".join(verdict.reasons),
            )
        elif verdict.withheld:
            counts["withheld"] += verdict.newly + verdict.again
            _log.warning(
                "%s: a full sync missed %d records of %s at once, more than the %d that may go: none was written; if"
                " they are gone, have two syncs with --accept-deletions",
                *(organization.organization_id, verdict.newly + verdict.again, verdict.feed, verdict.most),
            )
        else:
            counts["missing"] += verdict.newly
            counts["inferred"] += verdict.again
    return counts
