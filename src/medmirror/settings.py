"""Every setting, read once from the environment into one frozen, picklable value.

A worker process gets the parent's Settings with its first chunk and never looks at the environment itself, so that all
processes of a run agree even when the environment changes under them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from medmirror.errors import UsageError

KIB = 1024
MIB = 1024 * KIB
_UNITS = {"": 1, "K": KIB, "M": MIB, "G": 1024 * MIB}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def usable_cpus() -> int:
    """How many processors this process may run on (a container or taskset may allow fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(cpus: int | None = None) -> int:
    """Half the processors, for the other half is Postgres' share; but two where there are two or three.

    A worker parses and then waits for its own backend to merge. With one worker on two processors the two would take
    turns, and one processor would always idle; a second worker parses while the first one waits.
    """
    count = usable_cpus() if cpus is None else cpus
    return max(min(2, count), count // 2)


def default_home() -> Path:
    """The user's data folder; for root /var/lib/medmirror.

    Postgres refuses to run as root, so root's server runs as another user, and that one cannot pass through /root.
    """
    if sys.platform == "linux" and os.geteuid() == 0:
        return Path("/var/lib/medmirror")
    return platformdirs.user_data_path("medmirror", appauthor=False)


def mask_password(dsn: str) -> str:
    """*dsn* with every password in it replaced by ``***``: URL or ``key=value`` form."""
    # A URL's password may hold an unescaped @ (a mistake, but still a secret): mask up to the last one of the
    # authority.
    masked = re.sub(r"(?<=://)([^:/?#]*):[^/?#]*@", r"\1:***@", dsn)
    return re.sub(r"(?i)\b((?:ssl)?password\s*=\s*)('(?:\\.|[^'\\])*'?|(?:\\.|[^\s&\\])*)", r"\1***", masked)


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set. Each field is the variable ``MEDMIRROR_`` and its name in capitals."""

    dsn: str | None = None
    """Where to load; None: an embedded Postgres under *home*."""
    home: Path = Path()
    """Where the embedded Postgres lives."""
    workers: int = 1
    """How many worker processes."""
    chunk_bytes: int = 2 * MIB
    """How many decoded bytes one worker takes at a time."""
    max_record_bytes: int = 64 * MIB
    """A larger record becomes a reject."""
    max_zip_ratio: int = 200
    """A file that unpacks to more than this many times its size is refused; real ones stay below 40."""
    lock_timeout: float = 10.0
    """Seconds to wait for one lock in the database before the transaction is tried again."""
    statement_timeout: float = 0.0
    """Seconds after which the database gives up one statement; 0: never."""
    log_level: str = "INFO"
    """Least severe level that is logged."""
    log_json: bool = False
    """One JSON object a log line."""
    queue: str = "postgres"
    """Where jobs wait: in the database itself, or sqs://QUEUE_NAME."""
    pg_bin: Path | None = None
    """Folder of the Postgres binaries for the embedded server; None: look for them."""

    @property
    def dsn_text(self) -> str:
        """The DSN; UsageError when none was set (and nobody put the embedded server's in its place)."""
        if self.dsn is None:
            raise UsageError(
                "No database was named; set MEDMIRROR_DSN, for example postgresql://user@db.example.org/medmirror."
            )
        return self.dsn

    def __repr__(self) -> str:
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        shown["dsn"] = self.dsn and mask_password(self.dsn)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Settings from *environ* (default: the process's), with *overrides* (None: not given) above it.

        Raises UsageError, naming the variable, what is wrong with its value and an example of a right one.
        """
        environ = os.environ if environ is None else environ
        unknown = sorted(set(overrides) - set(_RULES))
        if unknown:
            raise UsageError(f"There is no setting {unknown[0]!r}; there are {', '.join(_RULES)}.")
        values: dict[str, Any] = {"home": default_home(), "workers": default_workers()}
        for name, rule in _RULES.items():
            variable = f"MEDMIRROR_{name.upper()}"
            given = overrides.get(name)
            source = f"setting {name}" if given is not None else variable
            value = given if given is not None else environ.get(variable) or None
            if value is not None:
                values[name] = rule.read(source, value)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class _Rule:
    convert: Callable[[Any], Any]
    problem: str
    example: str

    def read(self, source: str, value: Any) -> Any:
        try:
            return self.convert(value)
        except (ValueError, TypeError, OverflowError):
            # A DSN may hold a password: its value is never quoted.
            shown = "" if self.convert is _dsn else f" {str(value)!r}"
            raise UsageError(f"{source}: the value{shown} {self.problem}, for example {self.example}.") from None


def _dsn(value: Any) -> str:
    text = str(value).strip()
    is_url = re.match(r"postgres(ql)?(\+psycopg)?://", text)
    if not (is_url or re.match(r"\w+\s*=", text)):
        raise ValueError
    return text


def _path(value: Any) -> Path:
    return Path(value).expanduser().absolute()


def _bytes(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if size < KIB:
        raise ValueError
    return size


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number = int(value)
        if isinstance(value, bool) or number != float(value) or not least <= number <= most:
            raise ValueError
        return number

    return convert


def _seconds(value: Any) -> float:
    number = float(value)
    if not 0.001 <= number <= 86_400:
        raise ValueError
    return number


def _seconds_or_none(value: Any) -> float:
    return 0.0 if float(value) == 0 else _seconds(value)


def _level(value: Any) -> str:
    if str(value).upper() not in _LEVELS:
        raise ValueError
    return str(value).upper()


def _flag(value: Any) -> bool:
    return {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}[
        str(value).strip().lower()
    ]


def _flag_or_error(value: Any) -> bool:
    try:
        return _flag(value)
    except KeyError:
        raise ValueError from None


def _queue(value: Any) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"postgres|sqs://[A-Za-z0-9_-]{1,80}(\.fifo)?", text):
        raise ValueError
    return text


_SIZE = "is not a size of at least 1 KiB"
_RULES: dict[str, _Rule] = {
    "dsn": _Rule(
        _dsn, "is neither a postgresql:// URL nor key=value pairs", "postgresql://user@db.example.org/medmirror"
    ),
    "home": _Rule(_path, "is not a path", "/srv/medmirror"),
    "workers": _Rule(_whole(1, 1024), "is not a whole number from 1 to 1024", "4"),
    "chunk_bytes": _Rule(_bytes, _SIZE, "4MiB"),
    "max_record_bytes": _Rule(_bytes, _SIZE, "64MiB"),
    "max_zip_ratio": _Rule(_whole(1, 1_000_000), "is not a whole number from 1 to 1000000", "200"),
    "lock_timeout": _Rule(_seconds, "is not a number of seconds from 0.001 to 86400", "10"),
    "statement_timeout": _Rule(_seconds_or_none, "is neither 0 nor seconds from 0.001 to 86400", "600"),
    "log_level": _Rule(_level, f"is not one of {', '.join(_LEVELS)}", "INFO"),
    "log_json": _Rule(_flag_or_error, "is neither true nor false", "true"),
    "queue": _Rule(_queue, "is neither postgres nor sqs://QUEUE_NAME", "postgres"),
    "pg_bin": _Rule(_path, "is not a path", "/usr/lib/postgresql/17/bin"),
}
