"""``medmirror serve``: HTTP API, status page, scheduler and workers in one process."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

from medmirror.cli import output
from medmirror.cli.options import Command, shared
from medmirror.errors import UsageError
from medmirror.settings import ScheduleSettings, ServiceSettings, read

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--workers", "at_once", default=2, show_default=True, type=click.IntRange(0, 64),
              help="Syncs at once; 0: none here, `medmirror worker` does them.")  # fmt: skip
@click.option("--no-scheduler", is_flag=True, help="Begin nothing by the clock; `medmirror scheduler` does.")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Certificate and chain, PEM.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its key, PEM.")
@click.option("--insecure-behind-proxy", is_flag=True, help="A proxy in front speaks TLS and says who the client is.")
@click.option("--proxy", "proxies", default="127.0.0.1", show_default=True, metavar="ADDRESSES",
              help="The proxies' addresses, parted by commas.")  # fmt: skip
@click.option("--open-status", is_flag=True, help="The status page asks for no key; only on 127.0.0.1.")
@click.option("--rate", default=20.0, show_default=True, type=click.FloatRange(0.1, 10_000),
              help="Requests a second of one key; five times as many at once.")  # fmt: skip
@click.option("--audit-days", show_default="400", type=click.IntRange(1, 36_500),
              help="How long the audit log is kept.")  # fmt: skip
@click.option("--session-secret", metavar="PLACE",
              help="env:VARIABLE or file:/path; signs sessions. Without: they end with the process.")  # fmt: skip
def serve(
    host: str,
    port: int,
    at_once: int,
    no_scheduler: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure_behind_proxy: bool,
    proxies: str,
    open_status: bool,
    rate: float,
    audit_days: int | None,
    session_secret: str | None,
) -> output.Answer:
    """Serve the HTTP API and the status page, begin syncs when they are due, and do them: all for a small clinic.

    Ends on Ctrl-C or SIGTERM; a sync that runs is put back at its next step, and nothing of it is lost.
    """
    try:
        from medmirror.service import serving
        from medmirror.service.options import Options
    except ModuleNotFoundError as error:
        raise UsageError(f"`serve` needs {error.name}; install it: pip install 'medmirror[service]'") from None
    from medmirror.db.database import open_database
    from medmirror.sync.organizations import read_secret

    where = serving.Where(host, port, tls_cert, tls_key, insecure_behind_proxy, proxies)
    where.check(open_status)
    own = read(ServiceSettings, audit_days=audit_days, session_secret=session_secret)
    secret = read_secret(own.session_secret)
    options = Options(
        rate=rate,
        burst=max(10, int(rate * 5)),
        audit_days=own.audit_days,
        hosts=where.names,
        open_status=open_status,
        secure=tls_cert is not None or insecure_behind_proxy,
        session_secret=secret.reveal().encode() if secret else b"",
        schedule=read(ScheduleSettings),
    )
    engine, settings = open_database(shared().settings())
    stop = threading.Event()
    _until_told(stop)
    try:
        serving.run(
            engine,
            settings,
            where,
            options,
            stop,
            lambda address: _welcome(address, open_status),
            at_once=at_once,
            scheduler=not no_scheduler,
        )
    finally:
        engine.dispose()
    return output.Answer({"stopped": True}, lambda: ["stopped"])


def _until_told(stop: threading.Event) -> None:
    """Have the first Ctrl-C or SIGTERM set *stop*; the next one ends the process as it always does."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(number: int, frame: Any) -> None:
        for each, handler in usual.items():
            signal.signal(each, handler)
        sys.stderr.write("\nmedmirror: stopping; what is under way is put back first (once more: stop at once)\n")
        stop.set()

    for number in usual:
        signal.signal(number, told)


def _welcome(address: str, open_status: bool) -> None:
    key = "" if open_status else " (log in with a key)"
    sys.stderr.write(
        f"medmirror serves at {address}\n"
        f"  status page   {address}/{key}\n"
        f"  API           {address}/openapi.json\n"
        "  a key         medmirror keys add NAME --scope read --scope sync --org ORG\n"
    )
    sys.stderr.flush()
