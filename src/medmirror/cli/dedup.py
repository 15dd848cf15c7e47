"""``medmirror dedup``: which records are of the same person, and which have the same content."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import logs, output
from medmirror.cli.options import Group, shared
from medmirror.cli.show import database

if TYPE_CHECKING:
    from medmirror.matching.identical import Identical
    from medmirror.matching.run import DedupResult

_log = logging.getLogger(__name__)
_ENTITIES = click.Choice(["patient", "practitioner"])


@click.group(cls=Group, invoke_without_command=True)
@click.option("--org", "organizations", metavar="ORG", multiple=True, help="Only this organisation; repeatable.")
@click.option("--entity", type=_ENTITIES, help="Only these records.")
@click.option("--all", "everything", is_flag=True, help="Compare all records, not only those that have changed.")
@click.option("--join-at", type=float, metavar="P", help="Join from this probability on. Default: 0.9995.")
@click.option("--review-at", type=float, metavar="P", help="Have people look from this probability on. Default: 0.8.")
@click.pass_context
def dedup(
    ctx: click.Context,
    organizations: tuple[str, ...],
    entity: str | None,
    everything: bool,
    join_at: float | None,
    review_at: float | None,
) -> output.Answer | None:
    """Find patients and practitioners that are in more than one record of an organisation.

    What is sure is joined (one canonical id), what is probable waits for `medmirror matches`. Only records that have
    changed since the last time are compared. Needs pip install 'medmirror[matching]'.
    """
    if ctx.invoked_subcommand is not None:
        return None
    options = shared()
    settings = options.settings()
    logs.set_up(settings.log_level, as_json=settings.log_json, quiet=options.quiet)
    from medmirror.matching import fields, run
    from medmirror.matching.deciding import Thresholds

    with database() as engine:
        result = run.deduplicate(
            engine,
            organizations=organizations or None,
            entities=[entity] if entity else tuple(fields.FIELDS),
            everything=everything,
            thresholds=Thresholds(
                fields.JOIN_AT if join_at is None else join_at, fields.REVIEW_AT if review_at is None else review_at
            ),
            on_step=lambda organization, kind: _log.info("comparing: %s records of %s", kind, organization),
        )
    return output.Answer(result.as_dict(), lambda: _found(result))


def _found(result: DedupResult) -> Iterable[Any]:
    if not result.found:
        yield "There are no patients and no practitioners to compare."
        return
    names = (
        "organization",
        "entity",
        "records",
        "changed",
        "pairs",
        "joined",
        "review",
        "rejected",
        "undone",
        "seconds",
    )
    yield output.table(names, [[getattr(entry, name) for name in names] for entry in result.found])
    if waiting := sum(entry.review for entry in result.found):
        yield f"{waiting:,} pairs wait for a person: medmirror matches list"


@dedup.command()
@click.option("--source", metavar="NAME", help="Only of this source.")
@click.option("--org", "organization", metavar="ORG", help="Only of this organisation.")
@click.option(
    "--limit", default=20, show_default=True, metavar="N", type=click.IntRange(0), help="Groups shown a feed."
)
def report(source: str | None, organization: str | None, limit: int) -> output.Answer:
    """Tell which records have the same content under different keys. Nothing is merged: two trials with equal titles
    are two trials.

    Keys, versions and dates do not count as content, at any depth.
    """
    from medmirror.matching import identical

    with database() as engine:
        groups = identical.report(engine, source=source, organization=organization, limit=limit)
    return output.Answer([group.as_dict() for group in groups], lambda: _identical(groups))


def _identical(places: list[Identical]) -> Iterable[Any]:
    names = ("where", "records", "groups", "in groups")
    yield output.table(names, [(place.where, place.records, place.groups, place.members) for place in places])
    for place in places:
        for group in place.largest:
            keys = ", ".join(" ".join(key) for key in group.keys)
            more = f" and {group.size - len(group.keys):,} more" if group.size > len(group.keys) else ""
            yield f"{place.where}: {group.size:,} alike: {keys}{more}"


@dedup.command()
@click.option("--org", "organization", metavar="ORG", required=True, help="The organisation to train on.")
@click.option("--entity", type=_ENTITIES, default="patient", show_default=True, help="The records to train on.")
@click.option("--reset", is_flag=True, help="Go back to the figures that medmirror brings.")
def train(organization: str, entity: str, reset: bool) -> output.Answer:
    """Fit the model's figures to an organisation's own records (expectation maximisation; at least 5,000 records).

    The next `medmirror dedup` compares everything anew by them.
    """
    from medmirror.matching import training

    with database() as engine:
        figures = training.train(engine, organization, entity, reset=reset)
    rows = [(name, m, u) for name, (m, u) in (figures or {}).items()]
    data = {"organization": organization, "entity": entity, "figures": figures}
    lines = ["back to the figures that medmirror brings"]
    table = output.table(["level", "m", "u"], [(name, f"{m:.6f}", f"{u:.6f}") for name, m, u in rows])
    return output.Answer(data, lambda: lines if figures is None else [table])
