"""Set digests: two numbers for the content of a table, whatever the order of its rows. sql/digest.sql keeps them.

Two tables hold the same rows exactly when both numbers agree, in one mirror at two times or in two mirrors. So a run
can show its result, and two mirrors can find their differences without sending their rows to one another.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql


class SetDigest(NamedTuple):
    """The number of rows of a table, with tombstones, and the sum of their hashes."""

    rows: int = 0
    sum: int = 0

    @property
    def text(self) -> str:
        """The digest as text for people: rows, and 16 hexadecimal digits."""
        return f"{self.rows}:{self.sum % (1 << 64):016x}"

    def plus(self, other: SetDigest) -> SetDigest:
        """The digest of both sets together."""
        return SetDigest(self.rows + other.rows, self.sum + other.sum)


class Relation(NamedTuple):
    """A table whose digests are kept. *name*, *organization_id* and the hashes are SQL expressions over a row ``r``.

    *fixed_name* is the name that all its rows count for; None when *name* takes it from a column.
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
        """Whether its rows belong to organisations, so that its keys must not be shown to others."""
        return "organization_id" in self.key


ByOrganization = dict[tuple[str, str], SetDigest]  # (name, organization or "")


def table_digests(conn: Connection, organization: str | None = None) -> dict[str, SetDigest]:
    """The kept digest of each table by its name (``cliniko.patient``, ``canonical.patient``), sorted.

    It is the digest of all organisations together, or of *organization* alone. No table of the mirror is read. A table
    without rows is there with 0 rows.
    """
    digests = {relation.fixed_name: SetDigest() for relation in relations(conn) if relation.fixed_name}
    for (name, _), digest in by_organization(conn, organization).items():
        digests[name] = digests.get(name, SetDigest()).plus(digest)
    return dict(sorted(digests.items()))


def by_organization(conn: Connection, organization: str | None = None) -> ByOrganization:
    """The kept digests that are not empty, by name and organisation (an empty text for public tables)."""
    return _by_organization(conn, "digests", organization=organization)


def by_relation(conn: Connection, relation: str) -> ByOrganization:
    """The kept digests of one table (``Relation.relation``), by name and organisation."""
    return _by_organization(conn, "digests of relation", relation=relation)


def _by_organization(conn: Connection, section: str, **values: str | None) -> ByOrganization:
    rows = conn.execute(_statement(section), values)
    return {(row.name, row.organization_id): SetDigest(int(row.rows), int(row.sum)) for row in rows}


def relations(conn: Connection) -> list[Relation]:
    """The tables whose digests are kept, by name of the table."""
    rows = [row._asdict() for row in conn.execute(_statement("relations"))]
    return [Relation(**{**row, "key": tuple(row["key"])}) for row in rows]


def of_name(candidates: Iterable[Relation], name: str) -> Relation | None:
    """The relation of *candidates* whose rows count for *name*; None when there is none."""
    schema = name.partition(".")[0]
    for relation in candidates:
        if relation.fixed_name == name or (
            relation.fixed_name is None and relation.relation.partition(".")[0] == schema
        ):
            return relation
    return None


def recount(conn: Connection, relation: str, organization: str | None = None) -> ByOrganization:
    """The digests of *relation* (``Relation.relation``), computed now from all its rows."""
    return _by_organization(conn, "recount", relation=relation, organization=organization)


def total(digests: Iterable[SetDigest]) -> SetDigest:
    """The digest of all sets together."""
    result = SetDigest()
    for digest in digests:
        result = result.plus(digest)
    return result


def fold(engine: Engine) -> int:
    """Add up the entries of many statements in the book of digests; return by how many rows it became shorter.

    Blocks no writer. The digests are right without it, only slower to read.
    """
    return retry.in_transaction(engine, lambda conn: int(conn.execute(_statement("fold")).scalar_one()))


_statement = partial(sql.statement, "digest.sql")
