"""``medmirror map``: map anew what is stored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output
from medmirror.cli.options import Command, as_loaded, empty_fields, shared

if TYPE_CHECKING:
    from medmirror.ingest.remap import RemapResult

_PROBLEMS = 20  # that are told of


@click.command(cls=Command, name="map")
@click.option("--org", "organization", metavar="NAME", help="Only this organisation's records.")
@click.option("--source", metavar="NAME", help="Only records of this source.")
@click.option("--since", metavar="RUN", type=click.IntRange(1), help="Only records that this run or a later one wrote.")
@as_loaded
@click.option("--all", "everything", is_flag=True, help="Also records that were mapped by the same mapper.")
@click.option("--workers", metavar="N", help="Worker processes; as for `load`.")
@empty_fields
def map_(
    organization: str | None,
    source: str | None,
    since: int | None,
    mapping: tuple[Path, ...],
    everything: bool,
    workers: str | None,
    accept_empty_fields: bool,
) -> output.Answer:
    """Map stored records anew after a mapping was edited: only those that it touches.

    Loading maps by itself; this is for what is there already. It may be stopped at any time: the same command does the
    rest. Give the mapping files that `load` is given, for without them your own mappings are undone.
    """
    from medmirror.ingest import remap as remapping

    options = shared()
    settings = options.settings(workers=workers)
    result = remapping.remap(
        organization=organization,
        source=source,
        since=since,
        mapping=mapping,
        everything=everything,
        accept_empty_fields=accept_empty_fields,
        settings=settings,
    )
    return output.Answer(result.as_dict(), lambda: [] if options.quiet else _lines(result))


def _lines(result: RemapResult) -> Iterable[Any]:
    done = result.counts
    if not any(done):
        yield "Everything is mapped as it should be."
        return
    yield output.table(
        ["feed", "records", "mapped", "unchanged", "unmapped", "deletions", "problems", "left"],
        [
            (
                name,
                counts.records,
                counts.mapped,
                counts.unchanged,
                counts.unmapped,
                counts.deletions,
                counts.problems,
                counts.left,
            )
            for name, counts in sorted(result.feeds.items())
            if any(counts)
        ],
    )
    for problem, times in result.problems.most_common(_PROBLEMS):
        yield f"{times:,} x {problem}"
    if done.left:
        yield f"{done.left:,} records were mapped with a mapping file that was not given now, and stay as they are."
    looked = f"run {result.run_id}: {done.records:,} records looked at in {result.seconds:,.1f} s"
    yield f"{looked}, {done.mapped:,} mapped anew"
