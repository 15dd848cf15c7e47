"""``medmirror status``, ``runs``, ``search`` and ``audit``: what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from medmirror import sources
from medmirror.cli import nightly, output
from medmirror.cli.options import Command, Group, shared
from medmirror.errors import UsageError
from medmirror.settings import mask_password

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from medmirror.search import Hit
    from medmirror.verify.findings import AuditReport

RUN_COLUMNS = ("run_id", "command", "source", "started_at", "seconds", "status", "read", "inserted", "updated",
               "unchanged", "rejected")  # fmt: skip


@contextmanager
def database() -> Iterator[Engine]:
    from medmirror.db.database import open_database

    """An engine on the database that the options and the environment name."""

    engine, _ = open_database(shared().settings())
    try:
        yield engine
    finally:
        engine.dispose()


def rows(engine: Engine, name: str, names: dict[str, str] | None = None, **values: Any) -> list[dict[str, Any]]:
    """The rows of the section *name* of show.sql, *names* put in."""
    from sqlalchemy import text

    from medmirror.db import sql

    statement = sql.sections("show.sql")[name]
    with engine.connect() as conn:
        result = conn.execute(text(statement.format(**names) if names else statement), values)
        return [dict(row) for row in result.mappings()]


@click.command(cls=Command)
def status() -> output.Answer:
    """Show what is in the mirror: records, files, open rejects, the last load, whether a load is running."""
    with database() as engine:
        data: dict[str, Any] = {"dsn": mask_password(_address()), **rows(engine, "server")[0]}
        data["sources"] = rows(engine, "sources")
        data["feeds"] = [_feed(engine, name, feed.name) for name in sources.names() for feed in sources.get(name).feeds]
        data["running"] = rows(engine, "running")
    return output.Answer(data, lambda: _status(data))


def _address() -> str:
    from medmirror.db import embedded

    settings = shared().settings()
    return settings.dsn or embedded.url(settings)


def _feed(engine: Engine, source: str, feed: str) -> dict[str, Any]:
    facts = rows(
        engine,
        "feed",
        {"fact": f'"{source}"."{feed}_fact"'},
        wide=f'"{source}"."{feed}"',
        search=f'"{source}"."{feed}_search"',
    )
    return {"source": source, "feed": feed, **facts[0]}


def _status(data: dict[str, Any]) -> Iterable[Any]:
    yield f"{data['dsn']} (Postgres {data['version']}, {data['bytes'] / 1e6:,.1f} MB)"
    feeds = [feed for feed in data["feeds"] if feed["living"] or feed["deleted"]]
    if not feeds:
        yield "The mirror is empty: medmirror load FILE..."
        return
    yield output.table(
        ["table", "records", "deleted", "MB", "search"],
        [(f"{feed['source']}.{feed['feed']}", feed["living"], feed["deleted"], feed["bytes"] / 1e6, feed["searchable"])
         for feed in feeds],
    )  # fmt: skip
    yield output.table(
        ["source", "files loaded", "unfinished", "refused", "open rejects", "last load"],
        [(feed["source"], feed["done"], feed["open"], feed["refused"], feed["open_rejects"], feed["last_load"])
         for feed in data["sources"]],
    )  # fmt: skip
    for run in data["running"]:
        yield f"run {run['run_id']} ({run['command']}) is running on {run['host']}, process {run['pid']}"


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--limit", default=20, show_default=True, metavar="N", type=click.IntRange(1), help="At most so many runs."
)
@click.pass_context
def runs(ctx: click.Context, limit: int) -> output.Answer | None:
    """List the latest runs, newest first; `runs show N` tells all about one."""
    if ctx.invoked_subcommand:
        return None
    with database() as engine:
        listed = rows(engine, "runs", limit=limit)
    return output.Answer(listed, lambda: _runs(listed))


def _runs(listed: Sequence[dict[str, Any]]) -> Iterable[Any]:
    if not listed:
        yield "There was no run yet."
        return
    yield output.table([name.removesuffix("_id").removesuffix("_at") for name in RUN_COLUMNS],
                       [[run[name] for name in RUN_COLUMNS] for run in listed])  # fmt: skip
    yield from (f"run {run['run_id']}: {run['error']}" for run in listed if run["error"])


@runs.command("show")
@click.argument("number", type=int)
def show_run(number: int) -> output.Answer:
    """Tell all about run NUMBER: its settings, counts, cost and files."""
    with database() as engine:
        matching = rows(engine, "run", run_id=number)
        if not matching:
            raise UsageError(f"There is no run {number}; `medmirror runs` lists them.")
        data = {**matching[0], "files": rows(engine, "run files", run_id=number)}
        if data["command"] == "nightly":
            data["receipt"] = nightly.receipt_of(engine, number)
    return output.Answer(data, lambda: _run(data))


def _run(data: dict[str, Any]) -> Iterable[Any]:
    plain = [(name, value) for name, value in data.items() if name not in ("files", "counts", "settings", "receipt")]
    inner = [(name, value) for part in ("settings", "counts") for name, value in (data[part] or {}).items()]
    shown_above = {"paths", "run_id", "status", "seconds", "cpu_seconds"}
    inner = list(dict(inner).items())
    stages = ((data["counts"] or {}).get("cpu_seconds") or {}).items()
    yield output.facts(
        [
            ("run_id", str(data["run_id"])),
            *((name, value) for name, value in plain[1:] if name != "pid"),
            *((name, value) for name, value in inner if name not in shown_above),
            *((f"CPU s, {stage}", seconds) for stage, seconds in stages),
        ]
    )
    names = ("file_id", "path", "status", "read", "inserted", "updated", "unchanged", "rejected", "reason")
    if data["files"]:
        yield output.table(names, [[file[name] for name in names] for file in data["files"]])
    if data.get("receipt"):
        yield from nightly.summary(data["receipt"])


@click.command(cls=Command)
@click.argument("query", nargs=-1, required=True)
@click.option("--source", metavar="NAME", help="Only in this source.")
@click.option(
    "--limit", default=20, show_default=True, metavar="N", type=click.IntRange(1), help="At most so many records."
)
def search(query: tuple[str, ...], source: str | None, limit: int) -> output.Answer:
    """Find records by their text, best first: words, "exact phrases", or, -not.

    The first search after a load brings the search vectors up to date, which may take a while.
    """
    from medmirror import search as engine_search

    if source:
        sources.get(source)
    with database() as engine:
        hits = engine_search.search(engine, " ".join(query), source=source, limit=limit)
    data = [{**hit._asdict(), "key": list(hit.key)} for hit in hits]
    return output.Answer(data, lambda: _hits(hits))


def _hits(hits: Sequence[Hit]) -> Iterable[Any]:
    from rich.text import Text

    if not hits:
        yield "Nothing was found."
        return
    for hit in hits:
        key = " ".join(map(str, hit.key))
        yield Text.assemble(
            (f"{hit.rank:.3f}  ", "dim"), (f"{hit.source}.{hit.feed} {key}", "cyan"), "  ", output.safe(hit.title)
        )
        yield Text("       ") + _highlighted(hit.snippet)


def _highlighted(snippet: str) -> Any:
    """*snippet* on one line with its matches in bold."""
    from rich.text import Text

    line = Text()
    for place, piece in enumerate(output.safe(" ".join(snippet.split())).split("⟦")):
        match, sign, rest = piece.partition("⟧")
        if place and sign:
            line.append(match, "bold yellow")
            line.append(rest)
        else:
            line.append(piece)
    return line


@click.command(cls=Command)
def audit() -> output.Answer:
    """Check that every record read is accounted for, and that the tables agree with the books.

    Exit code 1 when something does not add up.
    """
    from medmirror.verify import audit as auditor

    with database() as engine:
        report = auditor.audit(engine)
    return output.Answer(report.as_dict(), lambda: _audit(report), 0 if report.ok else 1)


def _audit(report: AuditReport) -> Iterable[Any]:
    rows = [(check.what, check.looked_at, check.wrong) for check in report.checks]
    yield output.table(["check", "looked at", "wrong"], rows)
    for finding in report.findings:
        yield f"{finding.where}: {finding.what}\n    {finding.advice}"
    for warning in report.warnings:
        yield f"warning: {warning.where}: {warning.what}\n    {warning.advice}"
    yield "Everything adds up." if report.ok else "Something does not add up; see above."
