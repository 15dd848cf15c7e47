"""``medmirror keys``: who may ask the service for what."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output
from medmirror.cli.options import Group
from medmirror.cli.show import database
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from medmirror.service.keys import Made

_SCOPES = click.Choice(["read", "sync", "admin", "metrics"])


@click.group(cls=Group)
def keys() -> None:
    """The keys to the HTTP API and the status page."""


@keys.command("add")
@click.argument("name")
@click.option("--scope", "scopes", type=_SCOPES, multiple=True, required=True, help="What it may do; repeatable.")
@click.option(
    "--org", "organizations", metavar="ORG", multiple=True, help="An organisation that it may see; repeatable."
)
@click.option("--all", "everything", is_flag=True, help="It may see every organisation, later ones too.")
@click.option(
    "--days", type=click.IntRange(0, 3650), default=365, show_default=True, help="How long it holds; 0: ever."
)
def add(
    name: str, scopes: tuple[str, ...], organizations: tuple[str, ...], everything: bool, days: int
) -> output.Answer:
    """Make a key for NAME (a program, a person) and print it, once.

    \b
    read      look at organisations, jobs, runs, dead letters; log in to the status page
    sync      trigger a sync, requeue a dead letter
    admin     change how often an organisation is looked at; pause and resume it
    metrics   /metrics
    """
    from medmirror.clock import SYSTEM
    from medmirror.service import keys as keystore

    if everything == bool(organizations):
        raise UsageError("Say which organisations the key is for: --org ORG (repeatable), or --all.")
    now = SYSTEM.now()
    expires = now + timedelta(days=days) if days else None
    with database() as engine:
        key = keystore.add(engine, name, scopes, None if everything else organizations, now, expires)
    return _made(key, "Keep it where secrets are kept: it is shown this once.")


@keys.command("list")
def list_() -> output.Answer:
    """Every key: whose it is, what it may do, until when, and when it was last used. Never the key itself."""
    from medmirror.clock import SYSTEM
    from medmirror.service import keys as keystore

    now = SYSTEM.now()
    with database() as engine:
        rows = [{**key, "state": _state(key, now)} for key in keystore.every(engine)]

    def show() -> Iterable[Any]:
        if not rows:
            yield "There are none yet: medmirror keys add NAME --scope read --org ORG"
            return
        names = ("key_id", "name", "scopes", "organizations", "state", "expires_at", "last_used_at")
        cells = [[_cell(name, row[name]) for name in names] for row in rows]
        yield output.table([name.replace("_", " ") for name in names], cells)

    return output.Answer(rows, show)


def _cell(name: str, value: Any) -> Any:
    if name == "organizations" and value is None:
        return "every one"
    return " ".join(value) if isinstance(value, list) else value


def _state(key: dict[str, Any], now: Any) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    return "expired" if key["expires_at"] is not None and key["expires_at"] <= now else "valid"


@keys.command("rotate")
@click.argument("key_id")
@click.option("--overlap", type=click.FloatRange(0, 720), default=24.0, show_default=True, metavar="HOURS",
              help="How long the old key goes on to hold.")  # fmt: skip
def rotate(key_id: str, overlap: float) -> output.Answer:
    """Make a new key with the rights of KEY_ID and print it, once. Both hold until the overlap has passed."""
    from medmirror.clock import SYSTEM
    from medmirror.service import keys as keystore

    with database() as engine:
        key = keystore.rotate(engine, key_id, SYSTEM.now(), timedelta(hours=overlap))
    return _made(key, f"The old key {key_id} holds for {overlap:g} more hours: give the new one out until then.")


@keys.command("revoke")
@click.argument("key_id")
def revoke(key_id: str) -> output.Answer:
    """Have KEY_ID hold no more, from the next request on; its sessions on the status page end as well."""
    from medmirror.clock import SYSTEM
    from medmirror.service import keys as keystore

    with database() as engine:
        keystore.revoke(engine, key_id, SYSTEM.now())
    return output.Answer({"key_id": key_id, "revoked": True}, lambda: [f"{key_id} holds no more"])


def _made(key: Made, advice: str) -> output.Answer:
    return output.Answer(key._asdict(), lambda: [key.token, f"{advice} Its id is {key.key_id}."])
