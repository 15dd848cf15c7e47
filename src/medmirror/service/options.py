"""What can be set of the service itself, and what its routes work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Engine

from medmirror.clock import Clock
from medmirror.jobs.queue import Queue
from medmirror.service.limits import Buckets
from medmirror.service.metrics import Metrics
from medmirror.settings import KIB, ScheduleSettings, Settings


class Options(NamedTuple):
    """*rate*, *burst*: requests a second and at once of one key. *failures*, *failure_burst*: wrong keys and signatures
    of one address. *hosts*: Host headers that are answered; empty: any. *open_status*: the status page needs no key;
    only for loopback. *secure*: clients come by TLS. *session_secret*: signs sessions; empty: one that ends with the
    process."""

    rate: float = 20.0
    burst: int = 100
    failures: float = 0.5
    failure_burst: int = 20
    body_bytes: int = 64 * KIB
    headers: int = 64
    body_seconds: float = 10.0
    audit_days: int = 400
    audit_strangers: int = 100_000
    hosts: tuple[str, ...] = ()
    open_status: bool = False
    secure: bool = False
    session_secret: bytes = b""
    session_seconds: int = 12 * 3600
    schedule: ScheduleSettings = ScheduleSettings()


@dataclass(frozen=True, slots=True)
class Service:
    """What every route finds at ``app.state.service``."""

    engine: Engine
    queue: Queue
    settings: Settings
    clock: Clock
    options: Options
    schedule: ScheduleSettings
    session_key: bytes = field(repr=False)
    callers: Buckets
    strangers: Buckets
    metrics: Metrics
