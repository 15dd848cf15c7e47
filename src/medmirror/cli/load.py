"""``medmirror load``."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmirror import sources
from medmirror.cli import output, remarks
from medmirror.cli.options import Command, Shared, empty_fields, shared
from medmirror.cli.show import rows
from medmirror.errors import UsageError
from medmirror.settings import Settings

if TYPE_CHECKING:
    from medmirror.ingest.run import FileResult, LoadResult
    from medmirror.model import Certificate

_log = logging.getLogger(__name__)

COUNTS = ("read", "inserted", "updated", "unchanged", "duplicate", "tombstoned", "rejected", "filtered")


@click.command(cls=Command)
@click.argument("words", metavar="[SOURCE] FILE...", nargs=-1, required=True)
@click.option(
    "--workers", metavar="N", help="Worker processes; by default half the processors, but two where there are."
)
@click.option("--org", "organization", metavar="NAME", help="Whose records a practice system's export holds.")
@click.option(
    "--mapping",
    "mapping",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="How a CSV file or a database is read, and what its columns mean; more than one may be given.",
)
@click.option(
    "--url",
    metavar="URL",
    help="The database that source sql reads, like mysql+pymysql://reader@host/practice.",
)
@click.option("--force", is_flag=True, help="Load files again whose bytes are loaded already.")
@click.option(
    "--renew", is_flag=True, help="The same, and write every row again as this version of medmirror reads it."
)
@click.option("--chunk-bytes", metavar="SIZE", help="Decoded bytes that a worker takes at a time, like 4MiB.")
@click.option(
    "--executor", metavar="WHERE", default="local", help="local, or dask://host:port for the cluster of that scheduler."
)
@click.option(
    "--index",
    is_flag=True,
    help="Bring the search vectors up to date now, not with `medmirror index` or the next search.",
)
@empty_fields
def load(
    words: tuple[str, ...],
    organization: str | None,
    mapping: tuple[Path, ...],
    url: str | None,
    workers: str | None,
    force: bool,
    renew: bool,
    chunk_bytes: str | None,
    executor: str,
    index: bool,
    accept_empty_fields: bool,
) -> output.Answer:
    """Load files or folders: plain, .gz or .zip.

    SOURCE is pubmed, clinicaltrials or openfda, or, with --org, the export of a practice system: cliniko, fhir, csv
    (with --mapping) or sql (with --mapping and --url, and no FILE). Without it the content of each file decides.
    Running the same command again loads nothing twice, and after a fault it goes on where it stopped.

    Exit code: 0 all well; 3 loaded, but with rejects, refused files, withheld fields, or more problems with a field
    than MEDMIRROR_PROBLEM_LIMIT; 1 failed; 2 wrong usage.
    """
    source, paths = told(words)
    options = shared()
    settings = options.settings(workers=workers, chunk_bytes=chunk_bytes)
    from medmirror.ingest import remap, run

    with ExitStack() as stack:
        extra = _progress(options, stack, paths)
        extra |= {"organization": organization, "mapping": mapping, "url": url, "renew": renew}
        extra |= {"accept_empty_fields": accept_empty_fields}
        result = run.load(source, paths, settings=settings, force=force, executor=executor, index=index, **extra)
    if accept_empty_fields and organization and result.withheld_fields:  # of records that did not change now
        remap.remap(organization=organization, mapping=mapping, accept_empty_fields=True, settings=settings)
        result = dataclasses.replace(result, withheld_fields={})
    _log_files(settings, result)
    files = "".join(f" --mapping {file}" for file in mapping)
    consent = f"medmirror map --org {organization}{files} --accept-empty-fields"

    def show() -> Iterable[Any]:
        if not options.quiet:
            yield from summary(result)
            yield from remarks.lines(result.as_dict(), consent)

    return output.Answer(result.as_dict(), show, result.exit_code)


def told(words: tuple[str, ...]) -> tuple[str | None, list[Path]]:
    """The source, when the first of *words* names one, and the paths.

    A file of a source's name is a file. A folder of that name is a folder only when nothing else is named: people keep
    PubMed's files in `pubmed/` and write `load pubmed pubmed/*.gz`.
    """
    first, rest = words[0], [Path(word) for word in words[1:]]
    path = Path(first)
    live = first in sources.names() and sources.get(first).origins is not None  # read from elsewhere than files
    if first in sources.names() and not path.is_file() and (rest or live or not path.is_dir()):
        if not rest and not live:
            raise UsageError(f"Name the files to load, for example: medmirror load {first} FILE...")
        return first, rest
    if rest and not path.exists() and path.name == first and not path.suffix:
        raise UsageError(f"{first!r} is neither a source nor a file; the sources are {', '.join(sources.names())}.")
    return None, [path, *rest]


def _progress(options: Shared, stack: ExitStack, paths: list[Path]) -> dict[str, Any]:
    """What ``run.load`` needs for a bar, when somebody can see it."""
    if options.quiet or not paths or not sys.stderr.isatty():
        return {}
    from medmirror.cli.progress import Bar
    from medmirror.ingest import candidates

    bar = Bar(candidate for path in paths for candidate in candidates.of(path) if not candidate.ignored)
    return {"on_progress": stack.enter_context(bar).update}


def _log_files(settings: Settings, result: LoadResult) -> None:
    """A line in the log for each loaded file, with its counts; those skipped or refused were told of at once."""
    if not _log.isEnabledFor(logging.INFO):
        return

    from medmirror.db.database import open_database

    engine, _ = open_database(settings)
    try:
        for file in rows(engine, "run files", run_id=result.run_id):
            if file["status"] == "done":
                counts = {name: file[name] for name in COUNTS if file[name]}
                summed = ", ".join(f"{value} {name}" for name, value in counts.items()) or "0 read"
                facts = {"file": file["path"], "source": file["source"], "run_id": result.run_id, **counts}
                _log.info("loaded: %s: %s", file["path"], summed, extra={"facts": facts})
    finally:
        engine.dispose()
    _log.info("run %d %s: %d read in %.1f s", result.run_id, result.status, result.read, result.seconds)


def summary(result: LoadResult) -> Iterable[Any]:
    """The short table at the end of a load, and what to do about what did not load."""
    from medmirror.ingest.candidates import UNREAD

    states = [file.status for file in result.files]
    unread = [file for file in result.files if file.status == "ignored" and file.reason in UNREAD]
    always = ("read", "inserted", "unchanged", "rejected")
    facts = [(name, getattr(result, name)) for name in COUNTS if name in always or getattr(result, name)]
    yield output.table([name for name, _ in facts], [[value for _, value in facts]])
    for source, certificates in result.certificates.items():
        yield from (f"{source} {word}" for word in map(_certificate, certificates))
    counted = [(states.count(state) - (len(unread) if state == "ignored" else 0), word) for state, word in _ENDS]
    counted.append((len(unread), "left out unread"))
    named = [f"{count:,} {'file' if count == 1 else 'files'} {word}" for count, word in counted if count]
    speed = result.bytes / 1e6 / result.seconds if result.seconds else 0.0
    yield (
        f"run {result.run_id}: {', '.join(named) or 'no file'}; {result.seconds:,.1f} s,"
        f" {result.records_per_second:,.0f} records/s, {speed:,.1f} MB/s, peak memory {result.peak_rss_mb:,.0f} MB"
    )
    if "skipped" in states and not result.read and "refused" not in states:
        yield "There was nothing new; --force loads the same files again."
    yield from _files("refused", [file for file in result.files if file.status == "refused"])
    yield from _files("left out", unread)
    if result.rejected:
        yield f"{result.rejected:,} records could not be loaded: medmirror rejects list --run {result.run_id}"


def _files(what: str, files: Sequence[FileResult]) -> Iterable[str]:
    """The first of *files*, each with its reason."""
    yield from (f"{what}: {file.path}: {_why(file)}" for file in files[:_SHOWN])
    if len(files) > _SHOWN:
        yield f"and {len(files) - _SHOWN:,} more {what}; --json and the log name all of them"


def _certificate(certificate: Certificate) -> str:
    kinds = ", ".join(certificate.kinds)
    if certificate.whole:
        return f"{kinds}: whole, {certificate.seen:,} records"
    expected = "" if certificate.expected is None else f" of {certificate.expected:,}"
    return f"{kinds}: not whole, {certificate.seen:,}{expected} records: {'; '.join(certificate.reasons[:_SHOWN])}"


def _why(file: FileResult) -> str:
    """The reason of a refusal, without the file's name, which stands before it."""
    reason = file.reason or file.error or ""
    return reason.replace(f" (file={file.path})", "").replace(f"file={file.path}, ", "")


_ENDS = (
    ("done", "loaded"),
    ("skipped", "skipped, loaded before"),
    ("ignored", "ignored as documents"),
    ("refused", "refused"),
    ("open", "unfinished"),
)
_SHOWN = 20
