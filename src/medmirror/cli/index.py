"""``medmirror index``: search vectors now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from medmirror import sources
from medmirror.cli import output
from medmirror.cli.options import Command
from medmirror.cli.show import database


@click.command(cls=Command)
@click.argument("names", metavar="[SOURCE]...", nargs=-1)
def index(names: tuple[str, ...]) -> output.Answer:
    """Bring the search vectors up to date, of all sources or of those named.

    The first search after a load does so, too; this is for doing it at a better time.
    """
    from medmirror import search

    chosen = [sources.get(name).name for name in names] or list(sources.names())
    began = time.perf_counter()
    with database() as engine:
        done = {name: search.refresh(engine, [name]) for name in chosen}
        flaws = search.flaws(engine, chosen)
    seconds = round(time.perf_counter() - began, 3)
    data = {"records": done, "seconds": seconds, "flaws": flaws}
    return output.Answer(data, lambda: _said(done, flaws))


def _said(done: dict[str, int], flaws: dict[str, int]) -> Iterator[Any]:
    yield output.table(["source", "records brought up to date"], list(done.items()))
    for kept, count in flaws.items():
        by = "their first part" if kept == "first part" else kept
        yield f"{count:,} records are indexed by {by}, for Postgres refused the whole: see medmirror.search_flaw"
