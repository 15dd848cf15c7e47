"""The register of advisory lock numbers: the only place where one is chosen.

They are keys of ``pg_advisory_xact_lock(bigint)``: held until the transaction ends, never longer. A session lock on a
pooled connection would outlive the work and be held by whoever takes the connection next; the few that a session of its
own holds say so.

To add a lock, take the next free number below. A number that is given up stays here as retired: an older medmirror may
still be running beside a newer one, and the number must not mean two things. Numbers 12345 to 12347 are given by the
specification and known to foreign programs.
"""

from __future__ import annotations

from types import MappingProxyType

CLINICALTRIALS = 12345  #: bulk updates of clinical trials
SEARCH = 12346  #: updates of search vectors
DEDUPLICATION = 12347  #: deduplication over whole tables
PUBMED = 12349  #: bulk updates of pubmed
OPENFDA = 12350  #: bulk updates of openfda
MIGRATION = 12351  #: changes to the tables themselves
OTHER_SOURCES = 12355  #: bulk updates of sources that have no number of their own
NIGHTLY = 12356  #: one nightly a database at a time (held by a session, see db/sessionlock.py)
SYNC = 12357  #: with an organisation's number: one sync of it at a time (held by a session, see db/sessionlock.py)
SCHEDULER = 12358  #: the scheduler that leads (held by a session, see schedule/leader.py)

RETIRED = frozenset(
    {
        12348,  # meant something else in programs that are older than the specification
        12352,  # opening and closing of files in the ledger; never taken, as the next two
        12353,  # starting and finishing of runs
        12354,  # retrying of rejects
    }
)

REGISTER: MappingProxyType[str, int] = MappingProxyType(
    {
        "clinicaltrials": CLINICALTRIALS,
        "search": SEARCH,
        "deduplication": DEDUPLICATION,
        "pubmed": PUBMED,
        "openfda": OPENFDA,
        "migration": MIGRATION,
        "other sources": OTHER_SOURCES,
        "nightly": NIGHTLY,
        "sync": SYNC,
        "scheduler": SCHEDULER,
    }
)

_SOURCES = frozenset({"clinicaltrials", "pubmed", "openfda"})


def for_source(name: str) -> int:
    """The lock number of bulk updates of the source *name*.

    Sources without a number of their own share one. Loaders take it in shared mode, so they never wait for one another;
    a program that needs the tables unchanged takes it alone. No number is computed from a name (by a hash, say): it
    could be another lock's, and two programs would wait for each other without a reason that anyone could find.
    """
    return REGISTER[name] if name in _SOURCES else OTHER_SOURCES
