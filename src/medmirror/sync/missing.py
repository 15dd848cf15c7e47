"""Records that a full sync did not show any more, although no list of deleted ones names them.

The night's rule holds (``ingest/deletions.py``): what two whole passes in a row have missed is taken for deleted, what
is seen again is alive again, and where more than a few would go at once nothing is written, because a key that lost its
permissions looks the same. Where a record of the list could not be read, nothing is missed either: it may be that one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable

from sqlalchemy import Engine

from medmirror.ingest import deletions
from medmirror.ingest.deletions import Limits
from medmirror.model import Certificate
from medmirror.sync.organizations import Organization

_log = logging.getLogger(__name__)


USUAL = Limits()
ANY = Limits(count=2**31 - 1, share=100.0)
"""How many may go at once: usually, and when a person has said that whatever is missing is gone."""


def judge(
    engine: Engine,
    one: Organization,
    run_id: int,
    feeds: Iterable[str],
    file_ids: Collection[int],
    limits: Limits = USUAL,
) -> Counter[str]:
    """Compare what the full sync *run_id* saw of *feeds*, in the ledger's files *file_ids*, with what is here; return
    how many records are ``missing`` since this pass, how many are now ``inferred`` deleted, and for how many that was
    ``withheld``. A transaction a feed. Running it again changes nothing."""
    certificates = {feed: Certificate((feed,), True, None, 0, ()) for feed in feeds}
    whole = deletions.Pass(one.organization_id, one.source, tuple(sorted(file_ids)), str(run_id).encode())
    found: Counter[str] = Counter()
    for verdict in deletions.judge(engine, whole, certificates, limits, run_id):
        if not verdict.whole:
            _log.warning(
                "%s: nothing is missed of %s: %s", one.organization_id, verdict.feed, "; ".join(verdict.reasons)
            )
        elif verdict.withheld:
            found["withheld"] += verdict.newly + verdict.again
            _log.warning(
                "%s: a full sync missed %d records of %s at once, more than the %d that may go: none was written; if"
                " they are gone, have two syncs with --accept-deletions",
                *(one.organization_id, verdict.newly + verdict.again, verdict.feed, verdict.most),
            )
        else:
            found["missing"] += verdict.newly
            found["inferred"] += verdict.again
    return found
