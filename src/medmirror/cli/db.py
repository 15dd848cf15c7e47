"""``medmirror db``: the embedded Postgres, and the address of whichever database is used."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import click

from medmirror.cli import output
from medmirror.cli.options import Group, shared
from medmirror.errors import MedmirrorError, UsageError
from medmirror.settings import Settings, child_environment


@click.group(cls=Group)
def db() -> None:
    """Start and stop the embedded Postgres; print an address; open psql."""


def _own() -> Settings:
    """The settings, when they mean the embedded server. Raises UsageError."""
    settings = shared().settings()
    if settings.dsn is not None:
        raise UsageError(
            "A database is named (--dsn or MEDMIRROR_DSN), and this command is for the embedded one; leave it out."
        )
    return settings


@db.command()
def start() -> output.Answer:
    """Start the embedded Postgres and print its address. (Every other command starts it by itself.)"""
    from medmirror.db import embedded

    settings = _own()
    url = embedded.start(settings)
    return output.Answer(asdict(embedded.status(settings)), lambda: [url])


@db.command()
def stop() -> output.Answer:
    """Stop the embedded Postgres; loads under way fail and can be run again."""
    from medmirror.db import embedded

    was = embedded.stop(_own())
    return output.Answer({"was_running": was}, lambda: ["stopped" if was else "it was not running"])


@db.command()
def url() -> output.Answer:
    """Print the address of the database for any client."""
    address = _address(shared().settings())
    return output.Answer({"url": address}, lambda: [address])


def _address(settings: Settings) -> str:
    from medmirror.db import embedded

    return settings.dsn or embedded.url(settings)


@db.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> output.Answer:
    """Open psql on the database; ARGUMENTS after -- go to psql: medmirror db psql -- -c "TABLE pubmed.article"."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from medmirror.db import embedded, session

    settings = shared().settings()
    program = _psql(settings)
    facts = conninfo_to_dict(session.conninfo(settings.dsn or embedded.start(settings)))
    password = facts.pop("password", None)  # on a command line everybody could read it
    environment = child_environment(**({"PGPASSWORD": str(password)} if password else {}))
    command = [str(program), "-d", make_conninfo("", **facts), *arguments]
    os.execve(program, command, environment)


def _psql(settings: Settings) -> Path:
    from medmirror.db import binaries

    on_path = shutil.which("psql")
    if on_path:
        return Path(on_path)
    try:
        beside = binaries.find(settings.home, settings.pg_bin).bin / "psql"
    except MedmirrorError:
        beside = Path()
    if beside.is_file():
        return beside
    raise UsageError(
        "psql was not found on this machine; install a Postgres client, or use any other one with the address that"
        " `medmirror db url` prints."
    )
