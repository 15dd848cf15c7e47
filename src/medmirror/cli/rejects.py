"""``medmirror rejects``: records that could not be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmirror import sources
from medmirror.cli import output
from medmirror.cli.options import Group, as_loaded, shared
from medmirror.cli.show import database
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from medmirror.ingest.rejects import RetryResult

_PREVIEW = 2_000  # characters
_SHOWN = 20  # rejects that a retry tells of
_OUTCOMES = {"failed": "failed again", "left": "could not be tried"}


@click.group(cls=Group)
def rejects() -> None:
    """List, show and retry records that could not be loaded."""


@rejects.command("list")
@click.option("--source", metavar="NAME", help="Only of this source.")
@click.option("--run", "run_id", metavar="N", type=int, help="Only those that failed last in run N.")
@click.option("--all", "everything", is_flag=True, help="Resolved ones, too.")
@click.option("--limit", default=50, show_default=True, metavar="N", type=click.IntRange(1), help="At most so many.")
def list_rejects(source: str | None, run_id: int | None, everything: bool, limit: int) -> output.Answer:
    """List open rejects: which file, where in it, what is wrong."""
    from medmirror.ingest import rejects as reject_store

    if source:
        sources.get(source)
    with database() as engine:
        rejects, count = reject_store.find(engine, source=source, run_id=run_id, everything=everything, limit=limit)
    return output.Answer({"count": count, "rejects": rejects}, lambda: _list(rejects, count))


def _list(rejects: list[dict[str, Any]], count: int) -> Iterable[Any]:
    if not rejects:
        yield "There are no rejects."
        return
    names = ["reject", "source", "file", "item", "bytes", "tries", "error", "reason"]
    yield output.table(
        names,
        [(str(reject["reject_id"]), reject["source"], _place(reject), reject["item"],
          reject["end_byte"] - reject["start_byte"], reject["attempts"], reject["error"], reject["reason"])
         for reject in rejects],
    )  # fmt: skip
    if count > len(rejects):
        yield f"{len(rejects):,} of {count:,}; --limit shows more"
    yield "Look at one: medmirror rejects show ID. After a fix: medmirror rejects retry."


def _place(reject: dict[str, Any]) -> str:
    name = str(reject["path"]).rpartition("/")[2]
    return f"{name}: {reject['member']}" if reject["member"] else name


@rejects.command("show")
@click.argument("reject_id", metavar="ID", type=int)
@click.option("--raw", is_flag=True, help="Print the kept bytes and nothing else.")
def show_reject(reject_id: int, raw: bool) -> output.Answer:
    """Tell all about reject ID, with the beginning of its bytes."""
    from medmirror.ingest import rejects as reject_store

    with database() as engine:
        data = reject_store.get(engine, reject_id)
    body = bytes(data.pop("raw") or b"")
    content = body.decode("utf-8", "backslashreplace")
    document = {**data, "raw": content, "raw_bytes": len(body)}
    if raw:
        return output.Answer(document, lambda: [output.safe(content)])
    return output.Answer(document, lambda: _show(data, content, len(body)))


def _show(data: dict[str, Any], content: str, size: int) -> Iterable[Any]:
    yield output.facts({**data, "reject_id": str(data["reject_id"]), "run_id": str(data["run_id"])}.items())
    yield output.safe(content[:_PREVIEW])
    if size == 0:
        yield "Its bytes were not kept; a retry reads them from the file."
    elif len(content) > _PREVIEW or not data["raw_complete"]:
        yield f"[... {size:,} bytes are kept; all of them: medmirror rejects show {data['reject_id']} --raw]"


@rejects.command("retry")
@click.argument("reject_ids", metavar="[ID]...", nargs=-1, type=int)
@click.option("--source", metavar="NAME", help="Only of this source.")
@as_loaded
def retry(reject_ids: tuple[int, ...], source: str | None, mapping: tuple[Path, ...]) -> output.Answer:
    """Try open rejects again: all of them, or those named.

    What loads now is resolved; what fails again stays, with one attempt more. Exit code: 0 all loaded, 3 some not.
    """
    from medmirror.db.database import open_database
    from medmirror.ingest import rejects as reject_store
    from medmirror.ingest import run

    if source and reject_ids:
        raise UsageError("Name rejects or a source, not both.")
    texts = run.read_mappings(mapping)
    engine, settings = open_database(shared().settings(workers=1))
    try:
        result = reject_store.retry(engine, settings, source=source, reject_ids=reject_ids or None, mappings=texts)
    finally:
        engine.dispose()
    return output.Answer(result.as_dict(), lambda: _retried(result), result.exit_code)


def _retried(result: RetryResult) -> Iterable[Any]:
    if not result.rejects:
        yield "There was nothing to retry."
        return
    for reject in [reject for reject in result.rejects if reject.outcome != "loaded"][:_SHOWN]:
        yield f"reject {reject.reject_id} {_OUTCOMES[reject.outcome]}: {reject.error}: {reject.reason}"
    left = f", {result.left:,} could not be tried" if result.left else ""
    yield f"run {result.run_id}: {result.loaded:,} loaded, {result.failed:,} failed again{left}"
