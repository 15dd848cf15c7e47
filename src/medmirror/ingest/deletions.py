"""What a whole pass did not show any more. All of it happens in the server; nothing of a record comes here.

A pass is what the loads of one night read of an organization's source: the certificates say whether it was whole, and
the ledger holds 8 bytes of each record that was seen in its files, also in those that were skipped because their bytes
were loaded before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from medmirror import sources
from medmirror.db import retry, sql
from medmirror.model import Certificate

_statement = partial(sql.statement, "deletions.sql")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many records of a feed may be taken for deleted in one pass: *count* of them, or *share* per cent of it where
    that is more."""

    count: int = 10
    share: float = 1.0


class Verdict(NamedTuple):
    """What a pass came to for one feed. *newly* and *again* are unseen for the first and for the second time, *back*
    are seen again; *most*: how many may go. Where *withheld*, none of those unseen was written."""

    feed: str
    whole: bool
    living: int
    seen: int
    newly: int
    again: int
    back: int
    most: int
    withheld: bool
    written: int
    reasons: tuple[str, ...] = ()


class Pass(NamedTuple):
    """One pass: whose, over what, its files in the ledger, and which files of when they were (*evidence*)."""

    organization: str
    source: str
    file_ids: tuple[int, ...]
    evidence: bytes


def inputs(conn: Connection, file_ids: Iterable[int]) -> list[dict[str, Any]]:
    """What the ledger knows of those files, in the order of their paths: whose, where, size, digest, order, status."""
    rows = conn.execute(_statement("inputs"), {"file_ids": sorted(set(file_ids))})
    return [dict(row) for row in rows.mappings()]


def evidence(files: Iterable[Mapping[str, Any]], nominal: date) -> bytes:
    """What tells this pass from another one: the files' digests, and when each was last written.

    An export that nobody made anew shows nothing that it did not show the night before, and neither does the same night
    taken up again. A live database counts as looked at once a night.
    """
    facts = []
    for file in files:
        if sources.get(file["source"]).origins is not None:
            facts.append(f"{file['path']}\x1f{nominal}")
            continue
        with suppress(OSError):
            written = Path(file["path"]).stat().st_mtime_ns
            facts.append(f"{file['digest']}\x1f{file['file_order']}\x1f{written}")
    digest = hashlib.sha256("\x1e".join(sorted(facts)).encode())
    return digest.digest()


def whole(certificates: Iterable[Certificate]) -> dict[str, Certificate]:
    """One certificate a feed. Several loads may speak of the same one: then each of them must say that it was whole."""
    by_kind: dict[str, Certificate] = {}
    for certificate in certificates:
        for kind in certificate.kinds:
            other = by_kind.get(kind)
            by_kind[kind] = certificate if other is None else _both(other, certificate)
    return by_kind


def _both(first: Certificate, other: Certificate) -> Certificate:
    expected = first.expected is not None and other.expected is not None
    return Certificate(
        kinds=first.kinds,
        whole=first.whole and other.whole,
        expected=(first.expected or 0) + (other.expected or 0) if expected else None,
        seen=first.seen + other.seen,
        reasons=tuple(dict.fromkeys((*first.reasons, *other.reasons))),
    )


def judge(
    engine: Engine, whole_pass: Pass, certificates: Mapping[str, Certificate], limits: Limits, run_id: int
) -> list[Verdict]:
    """Bring ``missing`` of the pass's feeds to what the pass showed; return a verdict for each. A transaction a feed.

    Running it again with the same evidence changes nothing.
    """
    verdicts = []
    for feed in sorted(certificates):
        judged = partial(
            _judge, whole_pass=whole_pass, feed=feed, certificate=certificates[feed], limits=limits, run_id=run_id
        )
        verdicts.append(retry.in_transaction(engine, judged))
    return verdicts


def _judge(
    conn: Connection, whole_pass: Pass, feed: str, certificate: Certificate, limits: Limits, run_id: int
) -> Verdict:
    about = {"organization": whole_pass.organization, "source": whole_pass.source, "feed": feed}
    unread = conn.execute(_statement("unread"), {"file_ids": list(whole_pass.file_ids), "feed": feed}).scalar_one()
    if unread:  # any of them may be a record that would be missed
        reason = f"{unread} records could not be read: medmirror rejects list"
        certificate = certificate._replace(whole=False, reasons=(*certificate.reasons, reason))
    before = conn.execute(_statement("last pass"), about).scalar()
    values = {
        **about,
        "file_ids": list(whole_pass.file_ids),
        "whole": certificate.whole,
        "other": before is None or bytes(before) != whole_pass.evidence,
        "count": limits.count,
        "share": limits.share,
        "run_id": run_id,
    }
    row = conn.execute(_statement("judge"), values).one()
    if certificate.whole and not row.withheld:
        conn.execute(_statement("note pass"), {**about, "evidence": whole_pass.evidence, "run_id": run_id})
    return Verdict(feed, certificate.whole, **row._mapping, reasons=certificate.reasons)


def status(verdicts: Sequence[Verdict]) -> str:
    """`rejects` when deletions were withheld, which a person has to look at; else `done`."""
    return "rejects" if any(verdict.withheld for verdict in verdicts) else "done"
