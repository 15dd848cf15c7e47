"""``medmirror diff``: where two mirrors differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output
from medmirror.cli.options import Command
from medmirror.cli.show import database
from medmirror.errors import SchemaOutOfDate, UsageError
from medmirror.settings import Settings, mask_password

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from medmirror.verify.diff import Difference, TableDifference

_KINDS = {"only_a": "only in A", "only_b": "only in B", "content": "differs"}


@click.command(cls=Command)
@click.argument("dsns", metavar="[A] B", nargs=-1, required=True)
@click.option("--org", metavar="NAME", help="Only what belongs to this organisation.")
@click.option("--thorough", is_flag=True, help="Read every table instead of trusting the digests that are kept.")
@click.option("--show-keys", is_flag=True, help="Show the keys of organisations' records, not only digests of them.")
@click.option(
    "--limit", default=20, show_default=True, metavar="N", type=click.IntRange(0), help="At most so many keys a table."
)
def diff(dsns: tuple[str, ...], org: str | None, thorough: bool, show_keys: bool, limit: int) -> output.Answer:
    """Show where two mirrors differ: table by table, and which keys.

    A and B are DSNs; without A it is the database that --dsn or MEDMIRROR_DSN names. Tables are compared by the digests
    that are kept of them, and only what differs is read. Nothing is changed. Exits with 3 when they differ.
    """
    from medmirror.verify import diff as comparison

    if len(dsns) > 2:
        raise UsageError("Name two databases, or one to compare yours with.")
    with _opened(dsns[0]) if len(dsns) == 2 else database() as a, _opened(dsns[-1]) as b:
        difference = comparison.diff(a, b, organization=org, thorough=thorough, show_keys=show_keys, examples=limit)
    return output.Answer(difference.as_dict(), lambda: _lines(difference), code=3 if difference.tables else 0)


@contextmanager
def _opened(dsn: str) -> Iterator[Engine]:
    """An engine on *dsn*, whose tables must be up to date: nothing is changed there."""
    from medmirror.db import connect, migrate

    settings = Settings.from_environment(dsn=dsn)
    engine = connect.engine_of(settings)
    try:
        connect.check(engine)
        if migrate.pending(engine):
            message = (
                f"{mask_password(dsn)} was made by an older medmirror; bring it up to date: medmirror status --dsn ..."
            )
            raise SchemaOutOfDate(message)
        yield engine
    finally:
        engine.dispose()


def _lines(difference: Difference) -> Iterable[Any]:
    same = f"{len(difference.same)} tables hold the same"
    cost = f"{difference.buckets:,} buckets and {difference.rows:,} rows were read, {difference.bytes / 1e6:,.2f} MB"
    if not difference.tables:
        yield f"{same}; {cost}."
        return
    yield output.table(
        ["table", "rows in A", "rows in B", *_KINDS.values()],
        [
            (table.table, table.a.rows, table.b.rows, table.only_a, table.only_b, table.content)
            for table in difference.tables
        ],
    )
    for table in difference.tables:
        yield from _examples(table)
    yield f"{same}, {len(difference.tables)} differ; {cost}."
    if wrong := [f"{table.table} in {' and '.join(table.wrong)}" for table in difference.tables if table.wrong]:
        yield f"The kept digest is not that of the rows: {', '.join(wrong)}. Run `medmirror audit` there."


def _examples(table: TableDifference) -> Iterable[str]:
    for example in table.examples:
        key = "|".join(example.key) if example.key else f"key digest {example.digest}"
        yield f"{table.table}: {_KINDS[example.kind]}: {output.safe(key)}"
    left = table.only_a + table.only_b + table.content - len(table.examples)
    if table.examples and left > 0:
        yield f"{table.table}: and {left:,} more"
