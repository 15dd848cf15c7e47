"""The command line: arguments in; words, tables or one JSON document, and an exit code out.

Each command returns an Answer; only ``main`` prints it or exits. Nothing slow is imported until a command needs it, so
``medmirror --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from typing import Any, NoReturn

import click

from medmirror.cli import (
    bench,
    db,
    deadletters,
    dedup,
    diff,
    index,
    keys,
    load,
    mapping,
    matches,
    mirror,
    nightly,
    organizations,
    output,
    rejects,
    remap,
    review,
    scheduler,
    serve,
    show,
    sync,
    worker,
)
from medmirror.cli.options import Group
from medmirror.errors import MedmirrorError, StoreError
from medmirror.version import __version__

STOPPED = "stopped cleanly; run the same command again to go on"
INTERRUPTED = 130
_TOGETHER = 1.0  # seconds within which several signals mean one wish


class Root(Group):
    """The command ``medmirror``: runs a command, prints its answer or its error, exits with its code."""

    def main(self, args: Any = None, prog_name: str | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run the command line *args* (default: the process's) and exit."""
        args = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in args
        try:
            answer = super().main(args, prog_name or "medmirror", standalone_mode=False)
        except click.ClickException as error:
            code = 2 if isinstance(error, click.UsageError) else 1
            output.error("UsageError" if code == 2 else type(error).__name__, _worded(error), {}, as_json=as_json)
            sys.exit(code)
        except MedmirrorError as error:
            _fail(error, as_json)
        except click.Abort:
            output.error("Interrupted", STOPPED, {}, as_json=as_json)
            sys.exit(INTERRUPTED)
        except Exception as error:
            refusal = _database_error(error)
            if refusal is None:
                raise
            _fail(refusal, as_json)
        if isinstance(answer, output.Answer):
            try:
                output.show(answer, as_json=as_json)
            except BrokenPipeError:  # who reads it has read enough, as `head` does; Python would write again at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(answer.code)
        sys.exit(answer or 0)


def _fail(error: MedmirrorError, as_json: bool) -> NoReturn:
    output.error(type(error).__name__, error.message, error.context, as_json=as_json)
    sys.exit(error.exit_code)


def _worded(error: click.ClickException) -> str:
    message = error.format_message()
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "medmirror"
    return f"{message.rstrip('.')}. See `{path} --help`."


def _database_error(error: Exception) -> StoreError | None:
    """*error* in our own words, when it is the database's."""
    if "sqlalchemy" not in sys.modules:
        return None
    import psycopg
    from sqlalchemy.exc import DBAPIError

    from medmirror.db import refusals

    return refusals.of_statement(error) if isinstance(error, DBAPIError | psycopg.Error) else None


@click.group(cls=Root, name="medmirror")
@click.version_option(__version__, prog_name="medmirror")
def cli() -> None:
    """Copy PubMed, ClinicalTrials.gov, openFDA and practice systems' exports into Postgres, and keep the copy current.

    Without --dsn or MEDMIRROR_DSN everything goes to a Postgres of medmirror's own, which starts by itself.

    \b
    medmirror load pubmed pubmed26n*.xml.gz
    medmirror load cliniko --org org_123 export/
    medmirror nightly nightly.toml
    medmirror sync org_123
    medmirror mirror pubmed
    medmirror serve
    medmirror search "metformin heart failure" --source pubmed
    medmirror status
    """


for _command in (
    load.load,
    mirror.mirror,
    index.index,
    nightly.nightly,
    nightly.apply,
    organizations.organizations,
    sync.sync,
    sync.backfill,
    scheduler.scheduler,
    serve.serve,
    worker.worker,
    deadletters.dead_letters,
    review.review,
    keys.keys,
    dedup.dedup,
    matches.matches,
    show.search,
    show.status,
    show.runs,
    rejects.rejects,
    show.audit,
    mapping.mapping,
    diff.diff,
    remap.map_,
    db.db,
    bench.bench,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """What the program ``medmirror`` does. SIGTERM stops it as cleanly as Ctrl-C does."""
    asked: list[float] = []

    def stop(number: int, frame: object) -> None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            sys.stderr.write("\nmedmirror: stopping; what is under way is finished first (once more: stop at once)\n")
            raise KeyboardInterrupt
        if asked[-1] - asked[0] > _TOGETHER:
            # Whatever is not committed is rolled back and loaded by the next run. Workers end with their parent.
            os._exit(INTERRUPTED)

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an argument may be bytes that are no text
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    cli.main()


__all__ = ["cli", "main"]
