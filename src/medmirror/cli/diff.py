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
    from medmirror.verify import diff as differing

    if len(dsns) > 2:
        raise UsageError("Name two databases, or one to compare yours with.")
    with _opened(dsns[0]) if len(dsns) == 2 else database() as a, _opened(dsns[-1]) as b:
        found = differing.diff(a, b, organization=org, thorough=thorough, show_keys=show_keys, examples=limit)
    return output.Answer(found.as_dict(), lambda: _lines(found), code=3 if found.tables else 0)


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


def _lines(found: Difference) -> Iterable[Any]:
    same = f"{len(found.same)} tables hold the same"
    cost = f"{found.buckets:,} buckets and {found.rows:,} rows were read, {found.bytes / 1e6:,.2f} MB"
    if not found.tables:
        yield f"{same}; {cost}."
        return
    yield output.table(
        ["table", "rows in A", "rows in B", *_KINDS.values()],
        [(one.table, one.a.rows, one.b.rows, one.only_a, one.only_b, one.content) for one in found.tables],
    )
    for one in found.tables:
        yield from _examples(one)
    yield f"{same}, {len(found.tables)} differ; {cost}."
    if wrong := [f"{one.table} in {' and '.join(one.wrong)}" for one in found.tables if one.wrong]:
        yield f"The kept digest is not that of the rows: {', '.join(wrong)}. Run `medmirror audit` there."


def _examples(one: TableDifference) -> Iterable[str]:
    for example in one.examples:
        key = "|".join(example.key) if example.key else f"key digest {example.digest}"
        yield f"{one.table}: {_KINDS[example.kind]}: {output.safe(key)}"
    left = one.only_a + one.only_b + one.content - len(one.examples)
    if one.examples and left > 0:
        yield f"{one.table}: and {left:,} more"
