"""``medmirror nightly`` and ``medmirror apply``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output
from medmirror.cli.options import Command, shared
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_CHANGES = 2  # of each kind in a table that the terminal shows; --json has more
_FIELDS = 12  # of a changed record that it shows; --json has all


@click.command(cls=Command)
@click.argument("path", metavar="NIGHTLY.TOML", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="NAME", help="Only this source or load, and what follows from it.")
@click.option("--plan", is_flag=True, help="Do everything in one transaction, say what would change, and undo it.")
@click.option("--show-values", is_flag=True, help="With --plan: show the values of changed fields, too.")
@click.option("--due", is_flag=True, help="Only if tonight's run has not been done: for a timer that asks often.")
@click.option("--loop", is_flag=True, help="Stay, and do each night as it comes due.")
def nightly(path: Path, only: tuple[str, ...], plan: bool, show_values: bool, due: bool, loop: bool) -> output.Answer:
    """Load, map, deduplicate and index everything that NIGHTLY.TOML names, as one job under its limits.

    Ends in a receipt: medmirror runs show N. A run that was stopped or killed goes on with the same command.

    Exit code: 0 all well, 3 something is open (rejects, withheld deletions, the window has ended), 1 a part failed,
    2 wrong usage, 4 another nightly runs.
    """
    from medmirror.nightly import config, night, receipt

    if (plan and (due or loop)) or (loop and (due or only)) or (show_values and not plan):
        raise UsageError("These options do not go together; see `medmirror nightly --help`.")
    nightly_file = config.read(path)
    settings = shared().settings()
    if plan:
        return _plan(nightly_file, settings, only, show_values)
    if loop:
        night.loop(path, settings, lambda night: output.show(_answer(night, receipt.exit_code(night)), as_json=False))
    document = night.run(nightly_file, settings, only=only, if_due=due)
    if document is None:
        data = {"due": False, "next": night.next_night(nightly_file).isoformat()}
        return output.Answer(data, lambda: [f"Tonight's run is done; the next one is due at {data['next']}."])
    return _answer(document, receipt.exit_code(document))


def _plan(nightly_file: Any, settings: Any, only: tuple[str, ...], show_values: bool) -> output.Answer:
    from medmirror.nightly import plan

    document = plan.make(nightly_file, settings, only=only, show_values=show_values)
    failed = any(part["status"] in ("failed", "skipped") for part in document["parts"].values())
    return output.Answer(document, lambda: plan_summary(document), 1 if failed else 0)


@click.command(cls=Command)
@click.option("--plan", "digest", required=True, metavar="DIGEST", help="The digest that `nightly --plan` printed.")
@click.argument("path", metavar="NIGHTLY.TOML", type=click.Path(path_type=Path))
def apply(digest: str, path: Path) -> output.Answer:
    """Do what a plan found, if the world is still as it was: the same inputs, configuration and tables.

    Exit code: as of `medmirror nightly`; 2 when anything has moved since, and nothing was done.
    """
    from medmirror.nightly import config, plan, receipt

    document = plan.apply(config.read(path), shared().settings(), digest)
    return _answer(document, receipt.exit_code(document))


def _answer(document: Mapping[str, Any], code: int) -> output.Answer:
    quiet = shared().quiet
    return output.Answer(dict(document), lambda: [] if quiet else summary(document), code)


def receipt_of(engine: Engine, run_id: int) -> dict[str, Any] | None:
    """The receipt of the nightly *run_id*; None when it was not closed."""
    from medmirror.nightly import book

    with engine.connect() as conn:
        return book.receipt(conn, run_id)


def summary(document: Mapping[str, Any]) -> Iterable[Any]:
    """A receipt as a terminal shows it."""
    from medmirror.nightly import page

    names = ("name", "status", "seconds", "read", "inserted", "updated", "unchanged", "tombstoned", "rejected")
    yield output.table(["part", *names[1:]], [[part.get(name) for name in names] for part in document["parts"]])
    moved = [(name, change["rows_before"], change["rows_after"], change["before"][-16:], change["after"][-16:])
             for name, change in document["tables"].items() if change["before"] != change["after"]]  # fmt: skip
    if moved:
        yield output.table(["table changed", "rows before", "after", "digest before", "after"], moved)
    certificates = [(part["name"], ", ".join(change["kinds"]), change["whole"], "; ".join(change["reasons"]))
                    for part in document["parts"] for change in part.get("certificates", ())]  # fmt: skip
    if certificates:
        yield output.table(["certificate", "records of", "whole", "why not"], certificates)
    cost = document["cost"]
    peak = cost["peak_memory_bytes"]
    yield (
        f"run {document['run_id']}: {document['name']}, night of {document['nominal']}: {document['seconds']:,.1f} s,"
        f" processors {cost['cpu_share_mean']:.0%} busy (peak {cost['cpu_share_peak']:.0%},"
        f" limit {document['limits']['cpu']} %){f', peak memory {peak / 1e6:,.0f} MB' if peak else ''}"
    )
    yield from page.notes(document)
    if document.get("page"):
        yield f"receipt: {document['page']}"


def plan_summary(document: Mapping[str, Any]) -> Iterable[Any]:
    """A plan as a terminal shows it: counts a table, then a sample of the changes."""
    names = ("inserts", "updates", "deletes", "conflicts")
    rows = [
        [table, *(counts[name] for name in names)]
        for table, counts in document["tables"].items()
        if any(counts[name] for name in names)
    ]
    yield output.table(["table", *names], rows) if rows else "Nothing would change."
    for table, counts in document["tables"].items():
        shown: Counter[str] = Counter()
        for change in counts["sample"]:
            shown[change["op"]] += 1
            if shown[change["op"]] > _CHANGES:
                continue
            changed = [_field(field) for field in change["fields"]]
            more = f" and {len(changed) - _FIELDS} more" if len(changed) > _FIELDS else ""
            first = ", ".join(changed[:_FIELDS]) + more
            whole = change["op"] != "update" and not any("before" in field for field in change["fields"])
            yield f"{table}: {change['op']} {change['record']}: {f'{len(changed)} fields' if whole else first}"
    yield from document["notes"]
    yield f"plan {document['digest']}"
    yield f"to do this: medmirror apply --plan {document['digest']} {document['file']}"


def _field(field: Mapping[str, Any]) -> str:
    values = f" ({output.word(field['before'])} -> {output.word(field['after'])})" if "before" in field else ""
    return f"{field['name']} {field['change']}{values}"
