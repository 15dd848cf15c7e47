"""The newest copy of each key within a chunk, the digest that tells equal content, and keys that are sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from medmirror.ingest.order import Rank, newer
from medmirror.model import Column, Item

TOMBSTONE_DIGEST = bytes(16)
_LIMITS = {"int2": 1 << 15, "int4": 1 << 31, "int8": 1 << 63}


class Candidate(NamedTuple):
    """An item that may be the newest of its key: where it came from (*part*), its digest, its *place* in the order of
    arrival and, after parsing, its row."""

    item: Item
    part: int
    digest: bytes
    place: int = 0
    row: bytes | None = None

    @property
    def rank(self) -> Rank:
        """What orders it among the copies of its key."""
        return Rank(self.item.version, self.item.tie, self.place)


def digest(raw: bytes | memoryview, salt: bytes = b"") -> bytes:
    """The first 16 bytes of SHA-256 over *salt* (the digest of a user's transform, or nothing) and an item's *raw*
    bytes.

    Today's processors have SHA-256 built in: twice as fast as BLAKE2 and as MD5.
    """
    return sha256(raw).digest()[:16] if not salt else sha256(salt + raw).digest()[:16]


def newest(
    candidates: Iterable[Candidate], *, series: bool = False
) -> tuple[dict[tuple[int | str, ...], Candidate], list[Candidate]]:
    """The newest candidate of each key, and all the others, in the order given. *series*: as for ``order.newer``."""
    best: dict[tuple[int | str, ...], Candidate] = {}
    others: list[Candidate] = []
    for candidate in candidates:
        key = candidate.item.key
        rival = best.get(key)
        if rival is None:
            best[key] = candidate
        elif newer(candidate.rank, rival.rank, series=series):
            best[key] = candidate
            others.append(rival)
        else:
            others.append(candidate)
    return best, others


def bad_key(columns: Sequence[Column], key: Sequence[int | str]) -> str | None:
    """The name of the first of *columns* that cannot hold its part of *key*, or None.

    A key is sent to Postgres before its record is (to ask what is known of it), so it must be sound by itself.
    """
    for column, value in zip(columns, key, strict=True):
        if isinstance(value, str):
            if column.kind != "text" or "\0" in value or not (value.isascii() or _is_utf8(value)):
                return column.name
        elif not -_LIMITS.get(column.kind, 0) <= value < _LIMITS.get(column.kind, 0):
            return column.name
    return None


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
