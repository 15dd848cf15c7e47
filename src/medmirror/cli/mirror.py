"""``medmirror mirror``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output
from medmirror.cli.options import Command, shared

if TYPE_CHECKING:
    from medmirror.publishers.base import Result

_NAMES = ("pubmed", "clinicaltrials", "openfda")
_SHOWN = 10


@click.command(cls=Command)
@click.argument("publisher", type=click.Choice(_NAMES))
@click.option(
    "--since",
    metavar="WHEN",
    default="auto",
    show_default=True,
    help="auto: what is new; all; or where to begin: a day, of pubmed a file such as pubmed26n1335.",
)
@click.option("--only", metavar="LISTS", help="Of openfda: endpoints, such as drug/ndc,drug/label.")
@click.option("--url", metavar="URL", help="Another address than the publisher's own: a mirror of it.")
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where files lie until they are loaded; by default in medmirror's home.",
)
@click.option("--whole", is_flag=True, help="Read all of the publisher's list, and count what is no longer in it.")
@click.option("--tombstones", is_flag=True, help="What is no longer there, by a whole list, becomes a tombstone.")
@click.option(
    "--renew", is_flag=True, help="Fetch all, and write every row again as this version of medmirror reads it."
)
@click.option(
    "--accept-gap",
    "accepted",
    metavar="FILE",
    multiple=True,
    help="Of pubmed: a file that the list lacks, such as pubmed26n1335, and that you know will not come.",
)
@click.option("--keep", is_flag=True, help="Keep the files after they were loaded.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
@click.option("--workers", metavar="N", help="Worker processes that load.")
def mirror(
    publisher: str,
    since: str,
    only: str | None,
    url: str | None,
    folder: Path | None,
    whole: bool,
    tombstones: bool,
    renew: bool,
    accepted: tuple[str, ...],
    keep: bool,
    dry_run: bool,
    workers: str | None,
) -> output.Answer:
    """Download what is new from PUBLISHER's own server, and load it.

    Files are checked (checksum, size, number of records) and taken up again where a download broke off. What was
    mirrored is remembered after it was loaded, so the same command after a fault goes on, and after a success it
    fetches what has come since.

    Exit code: 0 all well, 3 loaded but with rejects, 1 failed, 2 wrong usage, 4 another mirror uses the folder.
    """
    options = shared()
    settings = options.settings(workers=workers)
    from medmirror import publishers
    from medmirror.publishers.base import Options

    names = tuple(name.strip().strip("/") for name in (only or "").split(",") if name.strip())
    since = "all" if renew and since == "auto" else since
    wanted = Options(since, url, names, whole, tombstones, keep, dry_run, renew, accepted)
    result = publishers.mirror(publisher, wanted, settings=settings, folder=folder, got=_progress(options.quiet))
    return output.Answer(result.as_dict(), lambda: [] if options.quiet else summary(result), result.exit_code)


def _progress(quiet: bool) -> Any:
    """Who is told of bytes that came: a line on the terminal, if somebody can see it."""
    if quiet or not sys.stderr.isatty():
        return lambda count: None
    came = [0]

    def got(count: int) -> None:
        before, came[0] = came[0] >> 20, came[0] + count
        if came[0] >> 20 != before:
            sys.stderr.write(f"\r{came[0] >> 20:,} MB fetched \r")

    return got


def summary(result: Result) -> Iterable[Any]:
    """What was fetched, what became of it, and what to know of it."""
    if result.status == "dry run":
        yield from result.new[:_SHOWN]
        if len(result.new) > _SHOWN:
            yield f"and {len(result.new) - _SHOWN:,} more"
        yield f"{len(result.new):,} to fetch" if result.new else "There is nothing new."
        yield from result.notes
        return
    if result.status == "nothing new":
        yield "There is nothing new."
    else:
        from medmirror.publishers.base import COUNTS

        yield output.table(list(COUNTS), [[getattr(result, name) for name in COUNTS]])
        yield f"{result.files:,} files loaded, {result.downloaded / 1e6:,.1f} MB fetched"
    for name, mark in sorted(result.marks.items()):
        yield f"mirrored up to: {name} {mark}"
    yield from result.notes
    if result.rejected:
        yield f"{result.rejected:,} records could not be loaded: medmirror rejects list --run {result.runs[-1]}"
