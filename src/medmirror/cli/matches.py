"""``medmirror matches``: pairs of records that may be one person, and what people say of them."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
import orjson

from medmirror.cli import output
from medmirror.cli.options import Group
from medmirror.cli.show import database
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from medmirror.matching.decisions import Change

_ENTITIES = click.Choice(["patient", "practitioner"])
_STATUSES = click.Choice(["review", "joined", "rejected", "undone", "any"])
_SHOWN = ("names", "birth_date", "sex", "gender", "phones", "emails", "addresses", "identifiers")

_entity = click.option("--entity", type=_ENTITIES, help="Only these records.")


@click.group(cls=Group)
def matches() -> None:
    """List, show, accept, reject and undo pairs of records that are or may be the same person."""


@matches.command("list")
@click.option("--org", "organization", metavar="ORG", help="Only of this organisation.")
@_entity
@click.option("--status", type=_STATUSES, default="review", show_default=True, help="Only of this status.")
@click.option("--limit", default=50, show_default=True, metavar="N", type=click.IntRange(1), help="At most so many.")
@click.option("--show-values", is_flag=True, help="Print what the records say, too: names, birthdays, addresses.")
def list_matches(
    organization: str | None, entity: str | None, status: str, limit: int, show_values: bool
) -> output.Answer:
    """List pairs, the most probable ones first: keys, probability, and how each field compares. No values, unless
    asked for."""
    from medmirror.matching import decisions

    with database() as engine:
        matches, count = decisions.find(
            engine, organization=organization, entity=entity, status=None if status == "any" else status, limit=limit
        )
        if show_values:
            matches = [{**match, "values": decisions.values(engine, match)} for match in matches]
    return output.Answer({"count": count, "matches": matches}, lambda: _list(matches, count))


def _list(matches: list[dict[str, Any]], count: int) -> Iterable[Any]:
    if not matches:
        yield "There are none."
        return
    names = [
        "match",
        "organisation",
        "entity",
        "left",
        "right",
        "probability",
        "status",
        "agree",
        "close",
        "differ",
        "held back",
    ]
    yield output.table(
        names,
        [(str(match["match_id"]), match["organization_id"], match["entity"], _key(match, "left"),
          _key(match, "right"), _share(match["probability"]), match["status"],
          *(_fields(match, word) for word in ("agree", "close", "differ")),
          "; ".join(match["evidence"].get("held", ()))) for match in matches],
    )  # fmt: skip
    for match in matches:
        if "values" in match:
            yield f"match {match['match_id']}:"
            yield _values(match["values"])
    if count > len(matches):
        yield f"{len(matches):,} of {count:,}; --limit shows more"
    yield "Look at one: medmirror matches show ID. Then accept, reject or undo it."


def _key(match: dict[str, Any], side: str) -> str:
    return " ".join(match[f"{side}_{part}"] for part in ("source", "feed", "id"))


def _share(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.6f}"


def _fields(match: dict[str, Any], word: str) -> str:
    return ", ".join(name for name, field in match["evidence"].get("fields", {}).items() if field["says"] == word)


def _values(sides: dict[str, Any]) -> Any:
    rows = []
    for name in _SHOWN:
        pair = [None if record is None else record.get(name) for record in (sides["left"], sides["right"])]
        if any(pair):
            rows.append([name, *("" if value is None else _compact(value) for value in pair)])
    return output.table(["field", "left", "right"], rows)


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@matches.command("show")
@click.argument("match_id", metavar="ID", type=int)
@click.option("--show-values", is_flag=True, help="Print what the records say, too: names, birthdays, addresses.")
def show_match(match_id: int, show_values: bool) -> output.Answer:
    """Tell all about match ID: each field's evidence, and every decision that there was."""
    from medmirror.matching import decisions

    with database() as engine:
        data = decisions.get(engine, match_id)
        if show_values:
            data["values"] = decisions.values(engine, data)
    return output.Answer(data, lambda: _show(data))


def _show(data: dict[str, Any]) -> Iterable[Any]:
    plain = {
        name: data[name]
        for name in ("organization_id", "entity", "status", "grade", "decided_by", "decided_at", "reason")
    }
    sides = {side: _key(data, side) for side in ("left", "right")}
    scores = {"probability": _share(data["probability"]), "bits": data["weight"]}
    held = "; ".join(data["evidence"].get("held", ()))
    yield output.facts({"match": str(data["match_id"]), **sides, **plain, **scores, "held back": held}.items())
    yield output.table(
        ["field", "compares", "level", "bits"],
        [(name, field["says"], field["level"], field["weight"])
         for name, field in data["evidence"].get("fields", {}).items() if field["says"] != "missing"],
    )  # fmt: skip
    columns = ("decided_at", "decided_by", "grade", "status", "probability", "reason", "run_id")
    rows = [
        [_share(decision[name]) if name == "probability" else decision[name] for name in columns]
        for decision in data["decisions"]
    ]
    yield output.table(columns, rows)
    if "values" in data:
        yield _values(data["values"])


def _say(what: str, match_ids: tuple[int, ...], by: str | None, reason: str | None) -> output.Answer:
    from medmirror.matching import decisions

    with database() as engine:
        decided = decisions.apply(engine, what, match_ids, by=by or _user(), reason=reason)
    return output.Answer([decision._asdict() for decision in decided], lambda: _said(decided))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no login name and no such user, as in some containers
        raise UsageError("Nobody knows who you are here: say it with --by NAME.") from None


def _said(decided: list[Change]) -> Iterable[Any]:
    for decision in decided:
        yield f"match {decision.match_id}: {decision.before} -> {decision.status}"
        if decision.together and decision.status != "joined":
            numbers = ", ".join(map(str, decision.through))
            yield f"    both are still one person through match {numbers}; undo the wrong one of them, too"


_ids = click.argument("match_ids", metavar="ID...", nargs=-1, required=True, type=int)
_by = click.option("--by", metavar="NAME", help="Who says so; else the user of this machine.")
_reason = click.option("--reason", metavar="TEXT", help="Why; kept with the decision. No patient's name, please.")


@matches.command()
@_ids
@_by
@_reason
def accept(match_ids: tuple[int, ...], by: str | None, reason: str | None) -> output.Answer:
    """Say that both records of each match are one person: they get one canonical id."""
    return _say("accept", match_ids, by, reason)


@matches.command()
@_ids
@_by
@_reason
def reject(match_ids: tuple[int, ...], by: str | None, reason: str | None) -> output.Answer:
    """Say that they are two people: proposed again only when the records compare otherwise than now."""
    return _say("reject", match_ids, by, reason)


@matches.command()
@_ids
@_by
@_reason
def undo(match_ids: tuple[int, ...], by: str | None, reason: str | None) -> output.Answer:
    """Take back: joined records get their own canonical ids again, a rejected pair waits for a person again."""
    return _say("undo", match_ids, by, reason)
