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
    told = config.read(path)
    settings = shared().settings()
    if plan:
        return _plan(told, settings, only, show_values)
    if loop:
        night.loop(path, settings, lambda made: output.show(_answer(made, receipt.exit_code(made)), as_json=False))
    made = night.run(told, settings, only=only, if_due=due)
    if made is None:
        data = {"due": False, "next": night.next_night(told).isoformat()}
        return output.Answer(data, lambda: [f"Tonight's run is done; the next one is due at {data['next']}."])
    return _answer(made, receipt.exit_code(made))


def _plan(told: Any, settings: Any, only: tuple[str, ...], show_values: bool) -> output.Answer:
    from medmirror.nightly import plan

    made = plan.make(told, settings, only=only, show_values=show_values)
    failed = any(one["status"] in ("failed", "skipped") for one in made["parts"].values())
    return output.Answer(made, lambda: plan_summary(made), 1 if failed else 0)


@click.command(cls=Command)
@click.option("--plan", "digest", required=True, metavar="DIGEST", help="The digest that `nightly --plan` printed.")
@click.argument("path", metavar="NIGHTLY.TOML", type=click.Path(path_type=Path))
def apply(digest: str, path: Path) -> output.Answer:
    """Do what a plan found, if the world is still as it was: the same inputs, configuration and tables.

    Exit code: as of `medmirror nightly`; 2 when anything has moved since, and nothing was done.
    """
    from medmirror.nightly import config, plan, receipt

    made = plan.apply(config.read(path), shared().settings(), digest)
    return _answer(made, receipt.exit_code(made))


def _answer(made: Mapping[str, Any], code: int) -> output.Answer:
    quiet = shared().quiet
    return output.Answer(dict(made), lambda: [] if quiet else summary(made), code)


def receipt_of(engine: Engine, run_id: int) -> dict[str, Any] | None:
    """The receipt of the nightly *run_id*; None when it was not closed."""
    from medmirror.nightly import book

    with engine.connect() as conn:
        return book.receipt(conn, run_id)


def summary(made: Mapping[str, Any]) -> Iterable[Any]:
    """A receipt as a terminal shows it."""
    from medmirror.nightly import page

    names = ("name", "status", "seconds", "read", "inserted", "updated", "unchanged", "tombstoned", "rejected")
    yield output.table(["part", *names[1:]], [[part.get(name) for name in names] for part in made["parts"]])
    moved = [(name, one["rows_before"], one["rows_after"], one["before"][-16:], one["after"][-16:])
             for name, one in made["tables"].items() if one["before"] != one["after"]]  # fmt: skip
    if moved:
        yield output.table(["table changed", "rows before", "after", "digest before", "after"], moved)
    certificates = [(part["name"], ", ".join(one["kinds"]), one["whole"], "; ".join(one["reasons"]))
                    for part in made["parts"] for one in part.get("certificates", ())]  # fmt: skip
    if certificates:
        yield output.table(["certificate", "records of", "whole", "why not"], certificates)
    cost = made["cost"]
    peak = cost["peak_memory_bytes"]
    yield (
        f"run {made['run_id']}: {made['name']}, night of {made['nominal']}: {made['seconds']:,.1f} s,"
        f" processors {cost['cpu_share_mean']:.0%} busy (peak {cost['cpu_share_peak']:.0%},"
        f" limit {made['limits']['cpu']} %){f', peak memory {peak / 1e6:,.0f} MB' if peak else ''}"
    )
    yield from page.notes(made)
    if made.get("page"):
        yield f"receipt: {made['page']}"


def plan_summary(made: Mapping[str, Any]) -> Iterable[Any]:
    """A plan as a terminal shows it: counts a table, then a sample of the changes."""
    names = ("inserts", "updates", "deletes", "conflicts")
    rows = [
        [table, *(one[name] for name in names)] for table, one in made["tables"].items() if any(one[n] for n in names)
    ]
    yield output.table(["table", *names], rows) if rows else "Nothing would change."
    for table, one in made["tables"].items():
        shown: Counter[str] = Counter()
        for change in one["sample"]:
            shown[change["op"]] += 1
            if shown[change["op"]] > _CHANGES:
                continue
            told = [_field(field) for field in change["fields"]]
            some = ", ".join(told[:_FIELDS]) + (f" and {len(told) - _FIELDS} more" if len(told) > _FIELDS else "")
            whole = change["op"] != "update" and not any("before" in field for field in change["fields"])
            yield f"{table}: {change['op']} {change['record']}: {f'{len(told)} fields' if whole else some}"
    yield from made["notes"]
    yield f"plan {made['digest']}"
    yield f"to do this: medmirror apply --plan {made['digest']} {made['file']}"


def _field(field: Mapping[str, Any]) -> str:
    values = f" ({output.word(field['before'])} -> {output.word(field['after'])})" if "before" in field else ""
    return f"{field['name']} {field['change']}{values}"
