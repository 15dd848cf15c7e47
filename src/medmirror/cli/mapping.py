"""``medmirror mapping``: look at the mapper files, check them, and see whether they leave out anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from medmirror import sources
from medmirror.cli import output
from medmirror.cli.options import Group, shared
from medmirror.cli.show import database
from medmirror.errors import SourceError, UsageError

if TYPE_CHECKING:
    from medmirror.mapping import Mappers
    from medmirror.mapping.coverage import Coverage, Report

_UNMAPPED = 3  # exit code
_BLOCK = 1 << 20  # bytes
_FETCH = 1000  # documents
_Documents = Iterator[tuple[str, str, dict[str, Any]]]

_own = click.option(
    "--mapping",
    "files",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Your own mapper file, above the built-in ones; may be repeated.",
)


@click.group(cls=Group)
def mapping() -> None:
    """Show, check and measure how the sources' records are mapped onto the canonical schema."""


@mapping.command("show")
@click.argument("source", required=False)
@click.argument("feed", required=False)
@_own
def show_mapper(source: str | None, feed: str | None, files: tuple[Path, ...]) -> output.Answer:
    """Show the mapper of SOURCE and FEED: what is filled from where. Without them, list all mappers."""
    from medmirror.mapping import describe

    mappers = _mappers(files)
    if source is None or feed is None:
        names = [mapper for mapper in mappers.all() if source in (None, mapper.source)]
        data = [{"source": mapper.source, "feed": mapper.feed, "entity": mapper.entity} for mapper in names]
        return output.Answer(
            data, lambda: [output.table(["source", "feed", "entity"], [[*row.values()] for row in data])]
        )
    mapper = mappers.of(source, feed)
    if mapper is None:
        reason = mappers.ignored.get((source, feed))
        raise UsageError(
            f"{source} {feed} is not mapped: {reason}."
            if reason
            else f"There is no mapper for {source} {feed}; `medmirror mapping show` lists them."
        )
    data_of = describe.as_data(mapper)
    return output.Answer(data_of, lambda: _show(data_of))


def _show(data: dict[str, Any]) -> Iterable[Any]:
    yield f"{data['source']} {data['feed']} -> {data['entity']} (digest {data['digest']})"
    names = ["target", "source", "converter", "required", "note"]
    yield output.table(
        names, [["yes" if rule[name] is True else rule[name] or None for name in names] for rule in data["rules"]]
    )
    for rule in data["tombstones"]:
        words = f" is {' or '.join(rule['is'])}" if rule["is"] else " is set"
        yield f"{rule['grade']} when {rule['when']}{words}"
    if data["dropped"]:
        yield output.table(["not mapped", "because"], data["dropped"].items())


@mapping.command("check")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def check_files(files: tuple[Path, ...]) -> output.Answer:
    """Check the built-in mapper files, and FILES above them. Exit code 2 when something is wrong."""
    from medmirror.mapping import registry

    texts = dict(sorted(registry.builtin_texts().items()))
    texts |= dict(zip(map(str, files), _texts(files), strict=True))
    errors = {name: registry.check(text, name) for name, text in texts.items()}
    wrong = sum(map(len, errors.values()))
    return output.Answer(errors, lambda: _checked(errors), 2 if wrong else 0)


def _checked(errors: dict[str, list[str]]) -> Iterable[str]:
    for name, wrong in errors.items():
        yield from (f"{name}: {message}" for message in wrong)
    if not any(errors.values()):
        yield f"{len(errors)} mapper file{'s' if len(errors) != 1 else ''}, nothing wrong."


@mapping.command("coverage")
@click.argument("paths", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--source", metavar="NAME", help="Only this source; with FILES: whose files they are.")
@click.option("--org", "organization", metavar="NAME", help="Only this organisation's records.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="At most so many records of a table.")
@_own
def coverage(
    paths: tuple[Path, ...], source: str | None, organization: str | None, limit: int | None, files: tuple[Path, ...]
) -> output.Answer:
    """List the fields seen in the mirror's records, or in FILES, that are neither mapped nor dropped for a reason.

    Exit code 3 when there are any.
    """
    from medmirror.mapping import coverage as measuring

    mappers = _mappers(files)
    if source:
        sources.get(source)
    if paths and not source:
        raise UsageError("Say whose files they are: --source NAME.")
    seen: dict[tuple[str, str], Coverage] = {}
    read = _of_files(paths, source or "", files) if paths else _of_database(source, organization, limit)
    for name, feed, document in read:
        key = (name, feed)
        if key not in seen:
            seen[key] = measuring.Coverage()
        seen[key].add(document)
    reports = [fields.report(*key, mappers.of(*key), mappers.ignored.get(key)) for key, fields in sorted(seen.items())]
    missing = measuring.unmapped(reports)
    return output.Answer(
        [fields._asdict() for fields in reports], lambda: _covered(reports), _UNMAPPED if missing else 0
    )


def _covered(reports: list[Report]) -> Iterable[Any]:
    names = ["source", "feed", "entity", "records", "mapped", "dropped", "unmapped"]
    yield output.table(
        names,
        [
            (
                report.source,
                report.feed,
                report.entity,
                report.documents,
                len(report.mapped),
                len(report.dropped),
                len(report.unmapped),
            )
            for report in reports
        ],
    )
    rows = [(report.source, report.feed, path, count) for report in reports for path, count in report.unmapped.items()]
    if rows:
        yield output.table(["source", "feed", "unmapped field", "records"], rows)
        yield "Map each of them, or put it under [mapper.drop] with a reason: docs/mapping.md."
    elif not reports:
        yield "There are no records to look at."
    else:
        yield "Every field is mapped, or dropped for a reason."


def _mappers(files: tuple[Path, ...]) -> Mappers:
    from medmirror.mapping import mappers

    return mappers(_texts(files))


def _texts(files: tuple[Path, ...]) -> tuple[str, ...]:
    from medmirror.ingest import run

    return run.read_mappings(files)


def _of_database(source: str | None, organization: str | None, limit: int | None) -> _Documents:
    """(source, feed, document) of every living record, streamed."""
    from sqlalchemy import text

    from medmirror.db import sql

    statement = sql.sections("coverage.sql")["documents"]
    with database() as engine, engine.connect() as conn:
        for name in [source] if source else sources.names():
            for feed in sources.get(name).feeds:
                if not feed.document or feed.deletions:
                    continue
                kind = feed.key[1].name if len(feed.key) == 3 else "CAST(:feed AS text)"
                names = {"table": f'"{name}"."{feed.name}"', "document": f'"{feed.document}"', "kind": kind}
                if not re.fullmatch(r"[a-z_0-9\".() :A-Z]+", "".join(names.values())):
                    raise ValueError(f"not plain identifiers: {name}.{feed.name}")
                values = {"organization": organization, "most": limit, "feed": feed.name}
                rows = conn.execution_options(yield_per=_FETCH).execute(text(statement.format(**names)), values)
                for row in rows:
                    yield name, row.feed, orjson.loads(row.document)


def _of_files(paths: tuple[Path, ...], name: str, mapping_files: tuple[Path, ...]) -> _Documents:
    """(source, feed, document) of every record in *paths*, which are files of the source *name*."""
    from medmirror.ingest import candidates
    from medmirror.ingest.canonical import name_of
    from medmirror.model import Flaw
    from medmirror.readers import files

    source = sources.get(name)
    settings = shared().settings()
    facts = {"organization": "coverage", "mapping": orjson.dumps(_texts(mapping_files)).decode()}
    candidates_here = candidates.find(paths, candidates.named(source, facts))
    for path, beneath in ((file.path, file.beneath) for file in candidates_here if not file.ignored):
        for stream in files.streams(path, settings.max_zip_ratio, beneath):
            try:
                context = source.context(stream.name, files.head(stream), stream.open, {**facts, "path": str(path)})
            except SourceError:
                continue  # a log, a manifest: what loading passes over
            context = {**context, "organization": facts["organization"]}
            for block in source.split(stream.open(), context, _BLOCK, settings.max_record_bytes):
                if isinstance(block, Flaw):
                    continue
                for item in source.items(block.data, block.ordinal, context):
                    if isinstance(item, Flaw) or item.deleted:
                        continue
                    feed = source.feed(item.feed)
                    if feed.document and not feed.deletions:
                        record = source.record(feed, block.data, item)
                        yield name, name_of(feed.name, item.key).feed, record[feed.document]
