"""The whole of a small clinic in one process: HTTP, the scheduler that leads, and workers, each in threads."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from medmirror.clock import SYSTEM, Clock
from medmirror.db import connect
from medmirror.errors import MedmirrorError, UsageError
from medmirror.jobs import queue, worker
from medmirror.jobs.handler import handler
from medmirror.jobs.queue import Queue
from medmirror.schedule import leader
from medmirror.service import app as service
from medmirror.service import heads
from medmirror.service.limits import HEADER_BYTES
from medmirror.service.options import Options
from medmirror.settings import ScheduleSettings, Settings

_STATEMENT = "10000ms"  # what one answer may have the database do
_PATIENCE = 5.0  # seconds that an answer waits for a database that is gone
_HEAD_SECONDS = 10.0
_AT_ONCE = 200  # connections; more are told 503
_POOL = 12  # requests at the database at once
_BACKLOG = 256
_LAST_ANSWERS = 5  # seconds
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Where:
    """Where to listen, and how clients come. *proxies*: addresses whose word on who the client is is taken."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    proxies: str = "127.0.0.1"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check(self, open_status: bool) -> None:
        """UsageError for what would send keys in the clear, or show organisations to strangers."""
        if (self.certificate is None) != (self.key is None):
            raise UsageError("--tls-cert and --tls-key go together.")
        if not self.loopback and self.certificate is None and not self.behind_proxy:
            raise UsageError(
                f"Keys would cross the network in the clear: {self.host} is not this machine alone. Give --tls-cert and"
                " --tls-key, or put a TLS proxy in front and say --insecure-behind-proxy."
            )
        if open_status and (not self.loopback or self.behind_proxy):
            raise UsageError("--open-status shows every organisation to whoever asks: only on 127.0.0.1, no proxy.")

    @property
    def names(self) -> tuple[str, ...]:
        """Hosts that are answered on loopback, so that no foreign page can pass for us; empty: any."""
        return ("127.0.0.1", "localhost", "[::1]", self.host) if self.loopback and not self.behind_proxy else ()


@contextmanager
def http(app: FastAPI, where: Where) -> Iterator[str]:
    """Answer at the address that is given for as long as a `with` lasts; what has begun is answered first."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http=heads.within(_HEAD_SECONDS),  # type: ignore[arg-type]  # whatever makes a protocol
        loop="asyncio",
        server_header=False,
        proxy_headers=where.behind_proxy,
        forwarded_allow_ips=where.proxies,
        limit_concurrency=_AT_ONCE,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_LAST_ANSWERS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        ssl_certfile=where.certificate,
        ssl_keyfile=where.key,
    )
    try:
        config.load()
        listening = listen(where.host, where.port)
    except ssl.SSLError:
        raise UsageError("The TLS certificate or key cannot be used; both are PEM files, without a password.") from None
    except OSError as error:
        raise UsageError(f"Cannot listen on {where.host}:{where.port}: {error.strerror or error}.") from None
    with listening:
        server = uvicorn.Server(config)
        # Not in the main thread, where it would take the signals for itself.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="http")
        thread.start()
        try:
            host = f"[{where.host}]" if ":" in where.host else where.host
            yield f"http{'s' if where.certificate else ''}://{host}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; OSError when it cannot."""
    # Says that it is TCP, which socket.create_server does not: asyncio turns Nagle's algorithm off only where it sees
    # that, and with it on each answer waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def run(
    engine: Engine,
    settings: Settings,
    where: Where,
    options: Options,
    stop: threading.Event,
    announce: Callable[[str], None],
    *,
    at_once: int,
    scheduler: bool,
    clock: Clock = SYSTEM,
) -> None:
    """Serve until *stop* is set; *announce* hears the address. Jobs that have begun are put back at their next step.

    Raises MedmirrorError, after all has stopped, when the workers or the scheduler could not go on."""
    failed: list[MedmirrorError] = []
    line = queue.of(settings)
    own = connect.engine_of(settings, pool_size=_POOL, session={"statement_timeout": _STATEMENT}, patience=_PATIENCE)
    app = service.create(own, line, settings, clock, options)
    try:
        with http(app, where) as address:
            schedule = options.schedule if scheduler else None
            threads = _others(engine, line, settings, clock, stop, failed, at_once, schedule)
            announce(address)
            stop.wait()
            for thread in threads:
                thread.join()
    finally:
        stop.set()
        line.close()
        own.dispose()
    if failed:
        raise failed[0]


def _others(
    engine: Engine,
    line: Queue,
    settings: Settings,
    clock: Clock,
    stop: threading.Event,
    failed: list[MedmirrorError],
    at_once: int,
    schedule: ScheduleSettings | None,
) -> list[threading.Thread]:
    def work() -> None:
        own = connect.engine_of(settings, pool_size=2 * at_once + 2)
        try:
            handle = handler(own, settings, clock)
            worker.work(own, line, handle, clock, concurrency=at_once, stop=stop)
        finally:
            own.dispose()

    tasks: list[tuple[str, Callable[[], None]]] = [("workers", work)] if at_once else []
    if schedule is not None:
        tasks.append(("scheduler", partial(leader.lead, engine, settings.dsn_text, line, clock, schedule, stop)))
    threads = [threading.Thread(target=_or_stop, args=(task, name, stop, failed), name=name) for name, task in tasks]
    for thread in threads:
        thread.start()
    return threads


def _or_stop(task: Callable[[], None], name: str, stop: threading.Event, failed: list[MedmirrorError]) -> None:
    """Do *task*; when it fails, the whole process ends, so that whoever watches it starts it anew."""
    try:
        task()
    except MedmirrorError as error:
        _log.error("the %s ended: %s: %s", name, type(error).__name__, error.message)
        failed.append(error)
    except Exception as error:  # noqa: BLE001 - of any kind: a service without workers must not look alive
        _log.error("the %s ended: %s", name, type(error).__name__)
        failed.append(MedmirrorError(f"The {name} could not go on ({type(error).__name__}); start the service again."))
    finally:
        stop.set()
