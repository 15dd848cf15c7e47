"""The smaller groups of settings, each of the package that takes it."""

# ruff: noqa: RUF009 - what variable() gives is a field, no shared default
from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path

from medmirror.settings import kinds
from medmirror.settings.variables import variable


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """How often organisations are synchronised, by the wall clock of each clinic."""

    enabled: bool = variable(
        "ENABLE_SYNC_SCHEDULER", kinds.FLAG, "`false`: nothing is begun by the clock.", default=True, shown="true"
    )
    standard: timedelta = variable(
        "SYNC_INTERVAL_MINUTES",
        kinds.minutes("240"),
        "Minutes from one sync to the next of an organisation of tier standard.",
        default=timedelta(minutes=240),
        shown="240",
    )
    realtime: timedelta = variable(
        "SYNC_REALTIME_MINUTES",
        kinds.minutes("30"),
        "The same of tier realtime.",
        default=timedelta(minutes=30),
        shown="30",
    )
    economy: timedelta = variable(
        "SYNC_ECONOMY_MINUTES",
        kinds.minutes("720"),
        "The same of tier economy.",
        default=timedelta(minutes=720),
        shown="720",
    )
    hours: tuple[time, time] = variable(
        "SYNC_BUSINESS_HOURS",
        kinds.HOURS,
        "Business hours in each clinic's zone. `20:00-06:00` goes over midnight, `00:00-24:00` never ends.",
        default=(time(8), time(18)),
        shown="08:00-18:00",
    )
    days: frozenset[int] = variable(
        "SYNC_BUSINESS_DAYS",
        kinds.DAYS,
        "Business days. `none`: only the full sync.",
        default=frozenset(range(5)),
        shown="mon-fri",
    )
    full_at: time = variable(
        "SYNC_FULL_AT",
        kinds.TIME,
        "When the full sync of each date is due, in each clinic's zone.",
        default=time(2),
        shown="02:00",
    )
    spacing: timedelta = variable(
        "SYNC_SPACING_SECONDS",
        kinds.seconds("30"),
        "Seconds from the start of one organisation's sync to the next one's.",
        default=timedelta(seconds=30),
        shown="30",
    )
    jitter: timedelta = variable(
        "SYNC_JITTER_SECONDS",
        kinds.seconds("300"),
        "Full syncs, and the first of a morning, are spread over so many seconds.",
        default=timedelta(minutes=5),
        shown="300",
    )

    @property
    def tiers(self) -> dict[str, timedelta]:
        """The interval of each tier."""
        return {"realtime": self.realtime, "standard": self.standard, "economy": self.economy}


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What ``medmirror serve`` takes from the environment; its options stand above it."""

    session_secret: str | None = variable(
        "MEDMIRROR_SESSION_SECRET",
        kinds.text("a place", "env:STATUS_SECRET"),
        "Place of the secret that signs sessions of the status page: `env:NAME` or `file:/path`.",
        shown="none (sessions end with the process)",
        secret=True,  # whoever puts the secret itself here is not to find it in a log
    )
    audit_days: int = variable(
        "MEDMIRROR_AUDIT_DAYS",
        kinds.whole(1, 36_500, "400"),
        "Days that the audit log is kept.",
        default=400,
        shown="400",
    )


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """The database that ``load sql`` reads."""

    url: str | None = variable(
        "MEDMIRROR_SOURCE_URL",
        kinds.text("a URL", "mysql+pymysql://reader@host/practice"),
        "The database that `load sql` reads; `--url` stands above it.",
        secret=True,
    )
    password: str | None = variable(
        "MEDMIRROR_SOURCE_PASSWORD",
        kinds.text("a password", "tiger"),
        "Its password, when the URL has none. It never stands in a log, the ledger or an error.",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class MappingSettings:
    """What mapping files may do, and how much of a field may be unreadable."""

    modules: tuple[str, ...] = variable(
        "MEDMIRROR_MAPPING_MODULES",
        kinds.MODULES,
        "Python modules whose functions a mapping file may name (`python:MODULE:NAME`), besides our own.",
        default=(),
        shown="none",
    )
    problem_limit: float = variable(
        "MEDMIRROR_PROBLEM_LIMIT",
        kinds.PERCENT,
        "Percent of the records mapped in a run that may have the same problem with a field, two of them in any case;"
        " above it the exit code is 3. `0`: not one may.",
        default=5.0,
        shown="5",
    )


@dataclass(frozen=True, slots=True)
class PayloadSettings:
    """The keys of the payloads that dead letters keep."""

    key: str | None = variable(
        "MEDMIRROR_PAYLOAD_KEY",
        kinds.text("keys of Fernet, parted by commas or white space", "NEW_KEY,OLD_KEY"),
        "Keys of the records that dead letters keep; the first encrypts, each decrypts. See docs/dead-letters.md.",
        shown="none (no record is kept)",
        secret=True,
    )
    key_file: Path | None = variable(
        "MEDMIRROR_PAYLOAD_KEY_FILE",
        kinds.path("/etc/medmirror/payload.key"),
        "A file that holds them, when `MEDMIRROR_PAYLOAD_KEY` is not set.",
    )


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Where Amazon SQS is, for ``MEDMIRROR_QUEUE=sqs://...``."""

    region: str | None = variable(
        "AWS_REGION",
        kinds.text("a region", "eu-central-1"),
        "Region of the queue in SQS. Keys, roles and endpoint come by boto3's own variables.",
        shown="boto3's own",
    )


@dataclass(frozen=True, slots=True)
class NativeSettings:
    """Whether the compiled readers are used."""

    native: bool = variable(
        "MEDMIRROR_NATIVE",
        kinds.FLAG,
        "`false`: parse without the compiled readers (the same rows, slower). When building: do not compile them.",
        default=True,
        shown="true",
    )
