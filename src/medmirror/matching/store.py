"""The statements of matching: always within one organisation, in the caller's transaction."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Connection

from medmirror.copyformat import encoder
from medmirror.db import connect, sql
from medmirror.db.copy import copy
from medmirror.matching.clusters import canonical_ids
from medmirror.matching.deciding import GROUP, Decision, Pair, Standing
from medmirror.matching.judging import JOINED, MERGE, USER, levels
from medmirror.matching.scoring import Figures, columns
from medmirror.model import Column

Key = tuple[str, str, str]  # source, feed, id

_SIDES = [Column(f"{side}_{part}", "text") for side in ("left", "right") for part in ("source", "feed", "id")]
_MATCH = encoder(
    [
        *_SIDES,
        Column("probability", "float8"),
        Column("weight", "float8"),
        Column("evidence", "jsonb"),
        Column("grade", "text"),
        Column("status", "text"),
    ]
)
_ID = encoder([Column("source", "text"), Column("feed", "text"), Column("source_id", "text"), Column("id", "uuid")])


class Scope(NamedTuple):
    """The records that matching works on at a time: those of one organisation and entity."""

    organization: str
    entity: str


statement = partial(sql.statement, "matching.sql")
"""The section *name* of matching.sql, as a statement."""


def enter(conn: Connection, organization: str) -> None:
    """Let this transaction see and write the records of *organization* only."""
    conn.execute(statement("enter"), {"organization": organization})


def organizations(conn: Connection, entities: Sequence[str], named: Sequence[str] | None) -> list[str]:
    """The organisations that have records of *entities*, sorted; only those of *named* when it is given."""
    filters = {"entities": list(entities), "organizations": list(named) if named else None}
    return list(conn.scalars(statement("organizations"), filters))


def begin_input(conn: Connection, scope: Scope, model: bytes, everything: bool) -> tuple[int, int]:
    """Make the input table of the scope's records; return the number of records and of those to compare.

    To compare are records that this *model* has not compared with this content, and the records tied to them by pairs;
    all with *everything*.
    """
    conn.execute(statement("input"), {**scope._asdict(), "model": model, "everything": everything})
    for name in ("index input", "analyze input"):
        conn.execute(statement(name))
    conn.execute(statement("spread"), scope._asdict())
    records, changed = conn.execute(statement("input size")).one()
    return records, changed


def read(conn: Connection, entity: str) -> Any:
    """The records of the input as an Arrow reader for ``Scorer.take``. Read it before the next statement."""
    import pyarrow
    from pyarrow import csv

    kinds = {name: pyarrow.bool_() if name in ("changed", "gone") else pyarrow.string() for name in columns()}
    pieces = _copied(conn, f"read {entity}")
    first = next(pieces, None)
    if first is None:
        return pyarrow.Table.from_pylist([], schema=pyarrow.schema(list(kinds.items())))
    return csv.open_csv(
        pyarrow.PythonFile(_Stream(chain([first], pieces)), mode="r"),
        read_options=csv.ReadOptions(column_names=list(columns()), use_threads=False, block_size=4 << 20),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=kinds, true_values=["t"], false_values=["f"], null_values=[""],
            strings_can_be_null=True, quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip


def _copied(conn: Connection, name: str) -> Iterator[bytes]:
    with connect.raw(conn).cursor() as cursor, cursor.copy(sql.sections("matching.sql")[name].encode()) as source:
        for piece in source:
            yield bytes(piece)


class _Stream(io.RawIOBase):
    """A readable file of *pieces*."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        limit, pieces = size, [self._rest]
        have = len(self._rest)
        while size < 0 or have < limit:
            piece = next(self._pieces, None)
            if piece is None:
                break
            pieces.append(piece)
            have += len(piece)
        data = b"".join(pieces)
        cut = len(data) if size < 0 else min(limit, len(data))
        self._rest = data[cut:]
        return data[:cut]


def figures(conn: Connection, scope: Scope) -> Figures | None:
    """The figures that the organisation has trained; None when it has none."""
    trained = conn.scalar(statement("figures"), scope._asdict())
    return {name: (m, u) for name, (m, u) in trained.items()} if trained else None


def keep_figures(conn: Connection, scope: Scope, figures: Figures | None, run_id: int | None) -> None:
    """Store *figures* as the organisation's own; None: delete them, so that those of medmirror are used."""
    if figures is None:
        conn.execute(statement("forget figures"), scope._asdict())
        return
    values = {**scope._asdict(), "figures": orjson.dumps(dict(figures)).decode(), "run_id": run_id}
    conn.execute(statement("keep figures"), values)


def standing(conn: Connection, scope: Scope, keys: Mapping[int, Key]) -> Standing:
    """The decisions that hold for this scope's pairs, by the record numbers of *keys*."""
    numbers = {key: number for number, key in keys.items()}
    confirmed: list[Pair] = []
    kept: dict[Pair, str] = {}
    apart: dict[Pair, dict[str, str]] = {}
    for row in conn.execute(statement("standing"), scope._asdict()):
        left, right = numbers.get(tuple(row[0:3])), numbers.get(tuple(row[3:6]))
        if left is None or right is None:
            continue
        if row.status != JOINED:
            apart[left, right] = levels(row.evidence)
        elif row.grade == USER:
            confirmed.append((left, right))
        else:
            kept[left, right] = MERGE if row.merged else row.grade
    return Standing(confirmed, kept, apart)


def hold(
    conn: Connection, scope: Scope, keys: Mapping[int, Key], pairs: Iterable[Pair], *, by: str, run_id: int
) -> None:
    """Put *pairs*, which were joined, before a person: their group contradicts itself now."""
    rows = [(*keys[left], *keys[right]) for left, right in pairs]
    if rows:
        columns = (list(column) for column in zip(*rows, strict=True))
        sides = dict(zip((column.name for column in _SIDES), columns, strict=True))
        conn.execute(statement("hold"), {**scope._asdict(), **sides, "why": GROUP, "by": by, "run_id": run_id})


def write(
    conn: Connection, scope: Scope, keys: Mapping[int, Key], decisions: Iterable[Decision], *, by: str, run_id: int,
    model: bytes,
) -> None:  # fmt: skip
    """Write *decisions*, by the record numbers of *keys*; withdraw proposals that are not among them any more.

    Also notes which records were compared. Running it again changes nothing.
    """
    conn.execute(statement("stage"))
    copy(conn, sql.sections("matching.sql")["copy stage"], (_staged(keys, decision) for decision in decisions))
    conn.execute(statement("analyze stage"))
    values = {**scope._asdict(), "by": by, "run_id": run_id}
    conn.execute(statement("withdraw"), values)
    conn.execute(statement("decide"), values)
    conn.execute(statement("remember"), {**scope._asdict(), "model": model})
    conn.execute(statement("forget"), scope._asdict())


def _staged(keys: Mapping[int, Key], decision: Decision) -> bytes:
    sides = (*keys[decision.left], *keys[decision.right])
    return _MATCH((*sides, decision.probability, decision.weight, decision.evidence, decision.grade, decision.status))


def settle(conn: Connection, scope: Scope) -> int:
    """Give every record of *scope* the canonical id that follows from the joined pairs; return how many ids changed."""
    own: dict[Key, UUID] = {}
    pairs: list[tuple[Key, Key]] = []
    for row in conn.execute(statement("joined"), scope._asdict()):
        left, right = tuple(row[0:3]), tuple(row[4:7])
        own[left], own[right] = row.left_own, row.right_own
        pairs.append((left, right))
    conn.execute(statement("stage ids"))
    staged = (_ID((*key, canonical_id)) for key, canonical_id in canonical_ids(pairs, own).items())
    copy(conn, sql.sections("matching.sql")["copy ids"], staged)
    conn.execute(statement("analyze ids"))
    joined = conn.execute(statement("join"), {"organization": scope.organization}).rowcount
    parted = conn.execute(statement("part"), scope._asdict()).rowcount
    conn.execute(statement("clear ids"))
    return joined + parted


def tally(conn: Connection, scope: Scope) -> dict[str, int]:
    """The number of pairs of each status."""
    return {row.status: row.pairs for row in conn.execute(statement("tally"), scope._asdict())}
