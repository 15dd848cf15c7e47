"""The options that every command takes, before or after its name, and one that several take."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from medmirror.cli import logs
from medmirror.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shared:
    """What the options common to all commands say. None: not given, so the environment decides."""

    dsn: str | None = None
    json: bool = False
    log_level: str | None = None
    log_json: bool | None = None
    quiet: bool = False

    def settings(self, **overrides: Any) -> Settings:
        """The environment's settings with these options and *overrides* above them. Raises UsageError."""
        return Settings.from_environment(dsn=self.dsn, log_level=self.log_level, log_json=self.log_json, **overrides)


def shared() -> Shared:
    """The common options of the command that runs now."""
    return click.get_current_context().find_root().ensure_object(Shared)


def _note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value not in (None, False):
        setattr(ctx.find_root().ensure_object(Shared), str(param.name), value)


def _options() -> list[click.Option]:
    given: dict[str, Any] = {"expose_value": False, "callback": _note}
    return [
        click.Option(["--dsn"], metavar="DSN", help="Database to use, like postgresql://user@host/database.", **given),
        click.Option(["--json"], is_flag=True, help="Print one JSON document.", **given),
        click.Option(["--log-level"], metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.", **given),
        click.Option(["--log-json"], is_flag=True, help="Log one JSON object a line.", **given),
        click.Option(["-q", "--quiet", "quiet"], is_flag=True, help="No progress and no log but warnings.", **given),
    ]


as_loaded = click.option(
    "--mapping",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Your own mapping file, as `load` was given; more than one may be given.",
)
"""For commands that map again what was loaded: the mapping files that it was loaded with."""


empty_fields = click.option(
    "--accept-empty-fields",
    is_flag=True,
    help="A field that all records had, and that is empty in all new ones, is empty.",
)
"""For commands that would withhold such a field."""


def _has_password(dsn: str) -> bool:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        return bool(conninfo_to_dict(dsn).get("password"))
    except ProgrammingError:  # whoever connects will say so
        return False


class Command(click.Command):
    """A command with the common options; logging is set up when it runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _options()

    def invoke(self, ctx: click.Context) -> Any:
        options = shared()
        settings = options.settings()
        logs.set_up(settings.log_level, as_json=settings.log_json, quiet=options.quiet)
        if options.dsn and _has_password(options.dsn):
            _log.warning(
                "everybody on this machine can read the password in --dsn; set MEDMIRROR_DSN, or use ~/.pgpass"
            )
        return super().invoke(ctx)


class Group(click.Group):
    """A group of such commands, which takes the common options itself, too."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _options()
