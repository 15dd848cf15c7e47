"""The parts of running a Postgres server: as whom, in which folders, with which data and options."""

from __future__ import annotations

import hashlib
import os
import pwd
import shlex
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmirror.db.binaries import Installation
from medmirror.errors import EmbeddedServerError
from medmirror.settings import child_environment

_SYSTEM_USERS = ("postgres", "nobody")  # Postgres wants a user that the system knows

# Written into postgresql.conf when the data folder is made, so that whoever runs it may change them later.
_CONFIGURATION = """
# medmirror
max_connections = 100
shared_buffers = 128MB
maintenance_work_mem = 128MB
wal_level = minimal               # nobody replicates this server
max_wal_senders = 0
max_wal_size = 2GB
min_wal_size = 256MB
checkpoint_timeout = 15min
jit = off
autovacuum_max_workers = 1        # on, but not in the way of a load
autovacuum_naptime = 2min
log_min_messages = log            # an ERROR of a statement is its client's to report, and may quote a row
log_min_error_statement = panic
log_error_verbosity = terse
"""
_LZ4 = """
wal_compression = lz4
default_toast_compression = lz4
"""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that the server runs as. *other*: it is not the user of this process, who then is root."""

    uid: int
    gid: int
    other: bool

    @property
    def name(self) -> str:
        """The user's name, or the number of one without."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    def run(self, command: Sequence[str | Path], text_input: str = "") -> subprocess.CompletedProcess[str]:
        """The outcome of *command*, run as this user without any PG... variable; code 126 when it cannot be run."""
        identity: dict[str, Any] = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.other else {}
        try:
            return subprocess.run(
                command,
                cwd="/",  # the caller's own folder may be closed to this user
                env=child_environment(without="PG", LC_ALL="C"),
                capture_output=True,
                text=True,
                errors="replace",
                input=text_input,
                start_new_session=True,  # Ctrl-C in the caller's terminal is not meant for the server
                **identity,
            )
        except PermissionError as error:
            return subprocess.CompletedProcess(command, 126, "", str(error))


def account_for(folder: Path) -> Account:
    """The user that runs the server of *folder*: its owner if it exists, else this user.

    When this user is root, it is a system user. Raises EmbeddedServerError when there is no such user, or when the
    folder belongs to another one.
    """
    owner = folder.stat() if folder.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise EmbeddedServerError(
                f"{folder} belongs to another user; set MEDMIRROR_HOME to a folder of your own, or MEDMIRROR_DSN."
            )
        return Account(os.geteuid(), os.getegid(), other=False)
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, other=True)
    for name in _SYSTEM_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, other=True)
    raise EmbeddedServerError(
        f"Postgres does not run as root, and there is no user {' or '.join(_SYSTEM_USERS)} on this machine. Add one,"
        " run medmirror as an ordinary user, or set MEDMIRROR_DSN."
    )


def own_folder(folder: Path, account: Account) -> None:
    """Make *folder*, mode 0700, for *account*.

    Raises EmbeddedServerError when it is there with another owner or mode, or when *account* cannot reach it.
    """
    if account.other and not _reaches(account, folder.parent):  # first: nothing is left behind where it cannot be used
        raise EmbeddedServerError(_closed_parent(folder, account))
    try:
        folder.mkdir(mode=0o700)
        if account.other:
            os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    except FileExistsError:
        if account.other and folder.lstat().st_uid == 0 and not any(folder.iterdir()):
            os.chown(folder, account.uid, account.gid, follow_symlinks=False)  # its maker was killed before he could
    if not is_private(folder, account):
        raise EmbeddedServerError(
            f"{folder} is not a folder that only the user {account.name} can enter; remove it, or set MEDMIRROR_HOME."
        )
    if account.other and not _reaches(account, folder):
        raise EmbeddedServerError(_closed_parent(folder, account))


def _reaches(account: Account, folder: Path) -> bool:
    return account.run(["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]).returncode == 0


def _closed_parent(folder: Path, account: Account) -> str:
    closed = folder
    for parent in reversed(folder.parents):
        if not _reaches(account, parent):
            closed = parent
            break
    return (
        f"Postgres does not run as root but as the user {account.name}, and that one cannot pass through {closed}. Set"
        f" MEDMIRROR_HOME to a folder that can be reached, for example /var/lib/medmirror, or run `chmod o+x {closed}`."
    )


def is_private(folder: Path, account: Account) -> bool:
    """Whether *folder* is a real folder of *account*'s that nobody else can enter."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid and not status.st_mode & 0o077


def short_folder(home: Path, account: Account) -> Path:
    """A folder with a short path for the socket of *home*: the same for every process, another for every home and user.

    It is used when the path below *home* is too long for a socket.
    """
    digest = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
    return Path("/tmp") / f"medmirror-{account.uid}-{digest}"


def make_data(installation: Installation, folder: Path, superuser: str, account: Account) -> None:
    """Make a new data folder in *folder*: UTF-8, sorted by code points. Raises EmbeddedServerError."""
    command: list[str | Path] = [
        installation.bin / "initdb",
        "-D",
        folder,
        "-U",
        superuser,
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    if installation.major >= 18:
        # On by default since 18: every hint bit then writes a page to the WAL, also when a load changes nothing.
        command.append("--no-data-checksums")
    done = None
    for ctype in ("C.UTF-8", "en_US.UTF-8", "C"):
        done = account.run([*command, "--locale=C", f"--lc-ctype={ctype}"])
        if done.returncode == 0:
            break
    if done is None or done.returncode != 0:
        words = done.stderr.strip().splitlines()[-5:] if done else []
        raise EmbeddedServerError("initdb failed:\n" + "\n".join(words))
    more = _CONFIGURATION + (_LZ4 if _has_lz4(installation, folder, account) else "")
    # Written by the server's user, not by root: root should not follow where another user's folder leads.
    account.run(["/bin/sh", "-c", 'cat >> "$1"', "sh", str(folder / "postgresql.conf")], text_input=more)


def _has_lz4(installation: Installation, data: Path, account: Account) -> bool:
    """Whether this build has lz4 for columns and for the WAL. Postgres 14 has it for columns only: it keeps its
    defaults."""
    options = ["-c", "default_toast_compression=lz4", "-c", "wal_compression=lz4"]
    ask: list[str | Path] = [installation.bin / "postgres", "-D", data, *options, "-C", "wal_compression"]
    return account.run(ask).returncode == 0


def launch(
    installation: Installation, data: Path, socket: Path, log: Path, account: Account, patience: int, *, durable: bool
) -> subprocess.CompletedProcess[str]:
    """Start the server, wait at most *patience* seconds for it, and return the outcome of pg_ctl.

    The server does not end with the process that started it. *durable*: it waits for the disk.
    """
    must = {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": f'"{socket}"',
        "unix_socket_permissions": "0700",
        "fsync": "on" if durable else "off",
    }
    if _small_shared_memory():
        must["dynamic_shared_memory_type"] = "mmap"
    options = " ".join(shlex.join(["-c", f"{name}={value}"]) for name, value in must.items())
    start: list[str | Path] = [
        installation.bin / "pg_ctl",
        "start",
        "-w",
        "-s",
        "-t",
        str(patience),
        "-D",
        data,
        "-l",
        log,
        "-o",
        options,
    ]
    return account.run(start)


def _small_shared_memory() -> bool:
    """Whether /dev/shm is as small as containers make it (64 MB): a parallel query would fail there."""
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return False
    return room.f_frsize * room.f_blocks < 256 << 20


def tail(log: Path) -> str:
    """The last lines of the server's log. It holds no values of rows: see the configuration."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    except OSError as error:
        return f"(cannot be read: {error.strerror})"
