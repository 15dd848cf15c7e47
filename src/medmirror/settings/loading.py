"""The settings of a load, which nearly all commands share."""

# ruff: noqa: RUF009 - what variable() gives is a field, no shared default
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from medmirror.errors import UsageError
from medmirror.settings import kinds
from medmirror.settings.kinds import MIB, mask_password
from medmirror.settings.machine import default_home, default_workers
from medmirror.settings.variables import variable


@dataclass(frozen=True, slots=True)
class Settings:
    """The database and how it is loaded. Each field is the variable ``MEDMIRROR_`` and its name in capitals."""

    dsn: str | None = variable(
        "MEDMIRROR_DSN",
        kinds.DSN,
        "The database. A password belongs here or in `~/.pgpass`; it is never logged.",
        shown="none (the embedded Postgres)",
        secret=True,
    )
    home: Path = variable(
        "MEDMIRROR_HOME",
        kinds.path("/srv/medmirror"),
        "Where the embedded Postgres lives.",
        factory=default_home,
        shown="the user's data folder; for root `/var/lib/medmirror`",
    )
    workers: int = variable(
        "MEDMIRROR_WORKERS",
        kinds.whole(1, 1024, "4"),
        "Worker processes. The other processors are Postgres'.",
        factory=default_workers,
        shown="half the processors, but at least 2 where there are 2",
    )
    chunk_bytes: int = variable(
        "MEDMIRROR_CHUNK_BYTES",
        kinds.size("4MiB"),
        "Decoded bytes that one worker takes at a time; memory grows with it.",
        default=2 * MIB,
        shown="2 MiB",
    )
    max_record_bytes: int = variable(
        "MEDMIRROR_MAX_RECORD_BYTES",
        kinds.size("64MiB"),
        "A larger record becomes a reject.",
        default=64 * MIB,
        shown="64 MiB",
    )
    max_zip_ratio: int = variable(
        "MEDMIRROR_MAX_ZIP_RATIO",
        kinds.whole(1, 1_000_000, "200"),
        "A file that unpacks to more than this many times its size is refused; real ones stay below 40.",
        default=200,
        shown="200",
    )
    lock_timeout: float = variable(
        "MEDMIRROR_LOCK_TIMEOUT",
        kinds.SECONDS,
        "Seconds to wait for one lock in the database before the transaction is tried again.",
        default=10.0,
        shown="10",
    )
    statement_timeout: float = variable(
        "MEDMIRROR_STATEMENT_TIMEOUT",
        kinds.SECONDS_OR_ZERO,
        "Seconds after which the database gives up one statement; 0: never. The nightly sets 600.",
        default=0.0,
        shown="0",
    )
    reconnect: float = variable(
        "MEDMIRROR_RECONNECT",
        kinds.SECONDS_OR_ZERO,
        "Seconds to wait for a database that has gone away under way; a managed server's failover takes 30 to 120.",
        default=120.0,
        shown="120",
    )
    log_level: str = variable(
        "MEDMIRROR_LOG_LEVEL", kinds.LEVEL, "Least severe level that is logged.", default="INFO", shown="INFO"
    )
    log_json: bool = variable(
        "MEDMIRROR_LOG_JSON", kinds.FLAG, "One JSON object a log line.", default=False, shown="false"
    )
    queue: str = variable(
        "MEDMIRROR_QUEUE",
        kinds.QUEUE,
        "Where jobs wait: in the database itself, or in Amazon SQS (extra `sqs`).",
        default="postgres",
        shown="postgres",
    )
    pg_bin: Path | None = variable(
        "MEDMIRROR_PG_BIN",
        kinds.path("/usr/lib/postgresql/17/bin"),
        "Folder of the Postgres programs for the embedded server.",
        shown="none (looked for)",
    )

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

        The variables of the other groups that have our prefix are checked, too: what is wrong is refused by the first
        command, not by the one that needs it at night. Raises UsageError, see ``registry.read``.
        """
        from medmirror.settings import registry  # knows every group, this one too

        settings = registry.read(cls, environ, **overrides)
        registry.check_prefixed(environ, without=cls)
        return settings
