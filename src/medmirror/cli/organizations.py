"""``medmirror organizations``: who is kept in step with which practice system."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from medmirror.cli import output
from medmirror.cli.options import Group
from medmirror.cli.show import database
from medmirror.dates import zones
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from medmirror.sync.organizations import Organization

source_option = click.option("--source", metavar="SOURCE", help="Which of its systems, where there are several.")
_TIERS = click.Choice(["realtime", "standard", "economy"])
_FILE = click.Path(path_type=Path)


@click.group(cls=Group)
def organizations() -> None:
    """The organisations (clinics) whose practice systems are kept in step."""


@organizations.command("add")
@click.argument("organization")
@click.option("--remote", required=True, help="The kind of system: cliniko, fhir, bulk, sql, folder.")
@click.option("--set", "pairs", metavar="NAME=VALUE", multiple=True, help="A setting of the remote; JSON is read.")
@click.option("--secret", metavar="PLACE", help="Where its key is: env:VARIABLE or file:/path. Never the key itself.")
@click.option("--zone", default="UTC", show_default=True, help="The clinic's time zone, like Australia/Sydney.")
@click.option("--tier", type=_TIERS, default="standard", show_default=True, help="How often it is looked at.")
@click.option("--budget", metavar="N/SECONDS", multiple=True, help="At most N requests in so many seconds; repeatable.")
@click.option("--recent-first", is_flag=True, help="Its history of appointments is left to `medmirror backfill`.")
@click.option("--mapping", metavar="FILE", multiple=True, type=_FILE, help="Its own mapping file.")
@click.option("--webhook-secret", metavar="PLACE", help="Where the secret of its webhooks is, like --secret.")
@click.option("--destination", metavar="FILE", type=_FILE, help="JSON: a second system to write to.")
def add(
    organization: str,
    remote: str,
    pairs: tuple[str, ...],
    secret: str | None,
    zone: str,
    tier: str,
    budget: tuple[str, ...],
    recent_first: bool,
    mapping: tuple[Path, ...],
    webhook_secret: str | None,
    destination: Path | None,
) -> output.Answer:
    """Add ORGANIZATION, or change what is known of it: say all of it again, what is left out is forgotten.

    `medmirror organizations remotes` lists what --set may say.

    \b
    medmirror organizations add org_123 --remote cliniko --secret env:CLINIKO_KEY \\
        --set "user_agent=My Clinic Mirror (it@clinic.example)" --zone Australia/Sydney
    """
    from medmirror import remotes
    from medmirror.ingest import run
    from medmirror.remotes.base import Around
    from medmirror.sync import organizations as directory
    from medmirror.sync.destination import options_of

    settings = dict(_pair(pair) for pair in pairs)
    kind = remotes.kind(remote)
    if mapping and "mapping" in kind.settings:  # a remote that is read by the mapping file, too
        settings.setdefault("mapping", list(run.read_mappings(mapping)))
    try:
        zones.zone(zone)
    except ValueError:
        raise UsageError(f"There is no time zone {zone!r}; write it like Australia/Sydney.") from None
    opened = kind.open(organization, settings, directory.read_secret(secret), Around())  # asks nothing of it yet
    source = opened.source
    opened.close()
    clinic = directory.Organization(
        organization_id=organization,
        source=source,
        remote=remote,
        settings=settings,
        secret=secret,
        zone=zone,
        tier=tier,
        recent_first=recent_first,
        windows=tuple(_window(text) for text in budget) or None,
        destination=None if destination is None else _json_file(destination),
        mappings=run.read_mappings(mapping),
        webhook_secret=webhook_secret,
    )
    if clinic.destination is not None:
        options_of(clinic)  # what is wrong in its file is said now, not by the first sync
    with database() as engine:
        is_new = directory.put(engine, clinic)
    return output.Answer(shown(is_new), lambda: [f"{organization}: {source}, tier {is_new.tier}; "
                                               f"begin with: medmirror sync {organization} --wait"])  # fmt: skip


@organizations.command("remotes")
@click.argument("remote", required=False)
def list_remotes(remote: str | None) -> output.Answer:
    """Every kind of remote (or REMOTE alone), and what --set may say of it."""
    from medmirror import remotes

    chosen_ones = remotes.kinds().values() if remote is None else [remotes.kind(remote)]
    settings_of = {kind.name: dict(kind.settings) for kind in chosen_ones}
    tables = [output.table([name, "what it says"], list(settings.items())) for name, settings in settings_of.items()]
    return output.Answer(settings_of, lambda: tables)


def _pair(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"--set takes NAME=VALUE, for example --set url=https://fhir.example.org/r4; not {name!r}.")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def _window(text: str) -> tuple[int, int]:
    requests, _, seconds = text.partition("/")
    if not (requests.isdigit() and seconds.isdigit() and int(requests) and int(seconds)):
        raise UsageError("--budget takes N/SECONDS, for example --budget 200/60 --budget 5000/3600.")
    return int(requests), int(seconds)


def _json_file(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UsageError(f"The file {path} cannot be read as JSON: {type(error).__name__}.") from None
    if not isinstance(value, dict):
        raise UsageError(f"The file {path} must hold one JSON object.")
    return value


@organizations.command("list")
def list_() -> output.Answer:
    """Every system, how often it is looked at, and how its last sync went."""
    with database() as engine:
        rows = [{**shown(clinic), **_state(engine, clinic)} for clinic in _known(engine)]

    def show() -> Iterable[Any]:
        if not rows:
            yield "There are none yet: medmirror organizations add ORGANIZATION --remote ..."
            return
        names = ("organization_id", "source", "remote", "zone", "tier", "paused", "last_success", "failures", "error")
        yield output.table(
            [name.replace("_", " ") for name in names], [[row.get(name) for name in names] for row in rows]
        )
        yield from (f"{row['organization_id']}, {row['source']}: {row['paused_why']}" for row in rows if row["paused"])

    return output.Answer(rows, show)


@organizations.command("pause")
@click.argument("organization")
@source_option
@click.option("--why", default="paused by hand", show_default=True, help="Shown wherever somebody wonders.")
def pause(organization: str, source: str | None, why: str) -> output.Answer:
    """Have nothing more done for ORGANIZATION until `organizations resume`."""
    return _pause(organization, source, why)


@organizations.command("resume")
@click.argument("organization")
@source_option
def resume(organization: str, source: str | None) -> output.Answer:
    """Go on with a paused organisation."""
    return _pause(organization, source, None)


@organizations.command("reset")
@click.argument("organization")
@source_option
def reset(organization: str, source: str | None) -> output.Answer:
    """Forget how far ORGANIZATION has been read: its next sync reads everything. No record is removed."""
    from medmirror.db import retry
    from medmirror.sync import watermark

    with database() as engine:
        clinic = chosen(engine, organization, source)
        retry.in_transaction(engine, lambda conn: watermark.reset(conn, clinic))
    return output.Answer(shown(clinic), lambda: [f"The next sync of {organization} reads everything; "
                                             f"at once: medmirror sync {organization} --force-full"])  # fmt: skip


def _pause(organization: str, source: str | None, why: str | None) -> output.Answer:
    from medmirror.sync import organizations as directory

    with database() as engine:
        clinic = chosen(engine, organization, source)
        directory.pause(engine, clinic, why)
    done = f"Paused: {organization}, {clinic.source}." if why else f"Resumed: {organization}, {clinic.source}."
    return output.Answer({**shown(replace(clinic, paused_why=why)), "paused": why is not None}, lambda: [done])


def chosen(engine: Engine, organization: str, source: str | None) -> Organization:
    """The system of *organization* that *source* names, or its only one; UsageError saying what there is."""
    from medmirror.sync import organizations as directory

    clinics = [clinic for clinic in _known(engine, organization) if source in (None, clinic.source)]
    return directory.only(clinics, organization)


def _known(engine: Engine, organization: str | None = None) -> list[Organization]:
    from medmirror.sync import organizations as directory

    with engine.connect() as conn:
        return directory.every(conn, organization)


def _state(engine: Engine, clinic: Organization) -> dict[str, Any]:
    from medmirror.sync import state

    with engine.connect() as conn:
        last = state.read(conn, clinic)
    return {"last_success": last.success_at, "failures": last.failures, "error": last.error}


def shown(clinic: Organization) -> dict[str, Any]:
    """What may be shown of *clinic*: where its secret is, never the secret."""
    return {
        "organization_id": clinic.organization_id,
        "source": clinic.source,
        "remote": clinic.remote,
        "settings": dict(clinic.settings),
        "secret": clinic.secret,
        "zone": clinic.zone,
        "tier": clinic.tier,
        "budget": clinic.windows,
        "destination": clinic.destination and clinic.destination.get("remote"),
        "paused": clinic.paused_at is not None,
        "paused_why": clinic.paused_why,
    }
