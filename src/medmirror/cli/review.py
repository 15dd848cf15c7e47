"""``medmirror review``: conflicts between an organisation's records and its second system that a person settles."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import click
import orjson

from medmirror.cli import output
from medmirror.cli.options import Group
from medmirror.cli.show import database
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from medmirror.sync.destination.decide import Choice

_STATES = click.Choice(["open", "decided", "done", "superseded", "any"])
_DECISIONS = click.Choice(["source", "destination", "apart"])
_VALUES = ("base_record", "local_record", "remote_record")


@click.group(cls=Group)
def review() -> None:
    """List, show and decide conflicts that wait for a person: which side is right is for people to say."""


@review.command("list")
@click.option("--org", "organization", metavar="ORG", help="Only of this organisation.")
@click.option("--state", type=_STATES, default="open", show_default=True, help="Only in this state.")
@click.option("--limit", default=50, show_default=True, metavar="N", type=click.IntRange(1), help="At most so many.")
def list_reviews(organization: str | None, state: str, limit: int) -> output.Answer:
    """List conflicts, the oldest first: which records, and why they wait. No values."""
    from medmirror.sync.destination import review as review_store

    with database() as engine:
        reviews, count = review_store.find(
            engine, organization=organization, state=None if state == "any" else state, limit=limit
        )
    return output.Answer({"count": count, "conflicts": reviews}, lambda: _list(reviews, count))


def _list(reviews: list[dict[str, Any]], count: int) -> Iterable[Any]:
    if not reviews:
        yield "There are none."
        return
    yield output.table(
        ["conflict", "organisation", "ours", "theirs", "kind", "why", "state", "since"],
        [
            [str(case["review_id"]), case["organization_id"], _ours(case), _theirs(case), case["kind"], case["why"],
             case["decision"] or case["state"], f"{case['created_at']:%Y-%m-%d %H:%M}"]
            for case in reviews
        ],
    )  # fmt: skip
    if count > len(reviews):
        yield f"{len(reviews):,} of {count:,}; --limit shows more"
    yield "Look at one: medmirror review show ID. Then say who is right: medmirror review decide ID source|destination"


def _ours(case: dict[str, Any]) -> str:
    return f"{case['source']} {case['feed']} {case['source_id']}"


def _theirs(case: dict[str, Any]) -> str:
    return f"{case['destination']} {case['remote_feed']} {case['remote_id']}" if case["remote_id"] else ""


_id = click.argument("review_id", metavar="ID", type=int)


@review.command("show")
@_id
@click.option("--show-values", is_flag=True, help="Print what the records say, too: names, birthdays, addresses.")
def show_review(review_id: int, show_values: bool) -> output.Answer:
    """Tell all about conflict ID. What both records say: only if asked for."""
    from medmirror.sync.destination import review as review_store

    with database() as engine:
        data = review_store.get(engine, review_id)
    if not show_values:
        data = {name: value for name, value in data.items() if name not in _VALUES}
    data["can be decided"] = ", ".join(review_store.DECISIONS[data["kind"]])
    return output.Answer(data, lambda: _show(data))


def _show(data: dict[str, Any]) -> Iterable[Any]:
    plain = {name: value for name, value in data.items() if name not in _VALUES and value is not None}
    yield output.facts((name.replace("_", " "), str(value)) for name, value in plain.items())
    if "remote_record" not in data:
        return
    local, remote = data["local_record"] or {}, data["remote_record"] or {}
    rows = [
        [name, _compact(local.get(name)), _compact(remote.get(name))]
        for name in sorted({*local, *remote})
        if local.get(name) != remote.get(name)
    ]
    yield output.table(["field", "source", "destination"], rows)


def _compact(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()


@review.command("decide")
@_id
@click.argument("decision", type=_DECISIONS)
@click.option("--by", metavar="NAME", help="Who says so; else the user of this machine.")
@click.option("--reason", metavar="TEXT", help="Why; kept with the decision. No patient's name, please.")
def decide_review(review_id: int, decision: str, by: str | None, reason: str | None) -> output.Answer:
    """Say what is right: the source's record, the destination's, or both (apart: they are two things). The next sync
    does it."""
    from medmirror.clock import SYSTEM
    from medmirror.sync.destination import review as review_store

    with database() as engine:
        data = review_store.decide(
            engine, review_id, cast("Choice", decision), by=by or _user(), reason=reason, now=SYSTEM.now()
        )
    data = {name: value for name, value in data.items() if name not in _VALUES}
    return output.Answer(data, lambda: [f"conflict {review_id}: {decision}; the next sync does it"])


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no login name and no such user, as in some containers
        raise UsageError("Nobody knows who you are here: say it with --by NAME.") from None
