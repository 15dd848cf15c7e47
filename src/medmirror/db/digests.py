"""Set digests: what a table holds as two numbers, whatever order its rows came in. sql/digest.sql keeps them.

Two tables hold the same exactly when both numbers agree, in one mirror at two times or in two mirrors: so a run can
show what it came to, and two mirrors find where they differ without sending their rows to one another.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql


class SetDigest(NamedTuple):
    """How many rows a table has, tombstones too, and the sum of their hashes."""

    rows: int = 0
    sum: int = 0

    @property
    def text(self) -> str:
        """The digest as people compare it: rows, and 16 hexadecimal digits."""
        return f"{self.rows}:{self.sum % (1 << 64):016x}"

    def plus(self, other: SetDigest) -> SetDigest:
        """The digest of both sets together."""
        return SetDigest(self.rows + other.rows, self.sum + other.sum)


class Relation(NamedTuple):
    """A table whose digests are kept; all but *key* and *fixed_name* are SQL: expressions over a row ``r``.

    *fixed_name* is what all its rows count for, None when *name* takes it from a column.
    """

    relation: str
    fixed_name: str | None
    name: str
    organization_id: str
    key: tuple[str, ...]
    key_hash: str
    row_hash: str

    @property
    def of_organizations(self) -> bool:
        """Whether its rows belong to organisations, so that even its keys are nobody else's business."""
        return "organization_id" in self.key


ByOrganization = dict[tuple[str, str], SetDigest]  # (name, organization or "")


def table_digests(conn: Connection, organization: str | None = None) -> dict[str, SetDigest]:
    """The kept digest of each table by its name (``cliniko.patient``, ``canonical.patient``), sorted; of all
    organisations together, or of *organization* alone.

    Reads what is booked, no table; a table of the mirror that holds nothing is there with 0 rows.
    """
    found = {one.fixed_name: SetDigest() for one in relations(conn) if one.fixed_name}
    for (name, _), digest in by_organization(conn, organization).items():
        found[name] = found.get(name, SetDigest()).plus(digest)
    return dict(sorted(found.items()))


def by_organization(conn: Connection, organization: str | None = None) -> ByOrganization:
    """The kept digests of what is not empty, by name and organisation (an empty text for public tables)."""
    return _by_organization(conn, "digests", organization=organization)


def by_relation(conn: Connection, relation: str) -> ByOrganization:
    """The kept digests of one table (``Relation.relation``), by name and organisation."""
    return _by_organization(conn, "digests of relation", relation=relation)


def _by_organization(conn: Connection, section: str, **values: str | None) -> ByOrganization:
    rows = conn.execute(_statement(section), values)
    return {(row.name, row.organization_id): SetDigest(int(row.rows), int(row.sum)) for row in rows}


def relations(conn: Connection) -> list[Relation]:
    """The tables whose digests are kept, by name of the table."""
    found = [row._asdict() for row in conn.execute(_statement("relations"))]
    return [Relation(**{**row, "key": tuple(row["key"])}) for row in found]


def recompute(conn: Connection, table: str, organization: str | None = None) -> SetDigest:
    """The digest of *table* (a name as ``table_digests`` gives it) as its rows give it now: reads the whole table.

    KeyError when no such digest is kept.
    """
    relation = of_name(relations(conn), table)
    if relation is None:
        raise KeyError(table)
    found = recount(conn, relation.relation, organization)
    return total(digest for (name, _), digest in found.items() if name == table)


def of_name(some: Iterable[Relation], name: str) -> Relation | None:
    """That of *some* relations whose rows count for *name*."""
    schema = name.partition(".")[0]
    for one in some:
        if one.fixed_name == name or (one.fixed_name is None and one.relation.partition(".")[0] == schema):
            return one
    return None


def recount(conn: Connection, relation: str, organization: str | None = None) -> ByOrganization:
    """The digests of *relation* (``Relation.relation``) as its rows give them now: reads the whole table."""
    return _by_organization(conn, "recount", relation=relation, organization=organization)


def total(digests: Iterable[SetDigest]) -> SetDigest:
    """The digest of all sets together."""
    found = SetDigest()
    for digest in digests:
        found = found.plus(digest)
    return found


def fold(engine: Engine) -> int:
    """Add up what many statements have booked; return by how many rows the book became shorter.

    Keeps nobody from writing. The digests are right without it, only slower to read.
    """
    return retry.in_transaction(engine, lambda conn: int(conn.execute(_statement("fold")).scalar_one()))


_statement = partial(sql.statement, "digest.sql")
