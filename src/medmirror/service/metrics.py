"""/metrics: how the service is used, and how the organisations of the key that asks are. Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy import Connection

from medmirror.db import sql
from medmirror.service import reading
from medmirror.service.overview import STATES, Seen
from medmirror.version import __version__

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_JOBS = ("queued", "in_progress", "retrying", "succeeded", "skipped", "dead", "cancelled")

disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of the document, and nobody asks for it

_statement = partial(sql.statement, "service.sql")


class Metrics:
    """What this process counts itself; one object an application, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("medmirror_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "medmirror_request_seconds", "Seconds to the answer.", labels[:2], registry=self.registry, buckets=_SECONDS
        )
        self.webhooks = Counter("medmirror_webhooks", "Webhooks, by outcome.", ("outcome",), registry=self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. Routes are those that are documented, so nobody can make labels up."""
        label = method if method in _METHODS else "other"
        self.requests.labels(label, route, str(status)).inc()
        self.seconds.labels(label, route).observe(seconds)


def page(metrics: Metrics, conn: Connection, seen: Iterable[Seen], scope: dict[str, Any], now: datetime) -> bytes:
    """The whole document: what *metrics* counted, and what the database says of the organisations in *scope*."""
    machinery = reading.machinery(conn)
    jobs = dict.fromkeys(_JOBS, 0) | {row.state: row.jobs for row in conn.execute(_statement("job states"), scope)}
    at_hand = CollectorRegistry()
    at_hand.register(
        _Given([_build(), *_of_machinery(machinery, now), *_of_jobs(jobs), *_of_organizations(list(seen))])
    )
    return bytes(generate_latest(metrics.registry)) + bytes(generate_latest(at_hand))


class _Given:
    """Gives the families it was made with, as Prometheus' client wants to be given them."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The families."""
        return self._families


def _build() -> GaugeMetricFamily:
    family = GaugeMetricFamily("medmirror_build", "The version that runs.", labels=["version"])
    family.add_metric([__version__], 1)
    return family


def _of_machinery(machinery: reading.Machinery, now: datetime) -> Iterable[GaugeMetricFamily]:
    yield GaugeMetricFamily("medmirror_workers", "Worker processes that live.", machinery.workers)
    if machinery.ticked_at is not None:
        age = (now - machinery.ticked_at).total_seconds()
        yield GaugeMetricFamily("medmirror_scheduler_age_seconds", "Seconds since the scheduler looked.", age)


def _of_jobs(jobs: dict[str, int]) -> Iterable[GaugeMetricFamily]:
    family = GaugeMetricFamily("medmirror_jobs", "Jobs by state.", labels=["state"])
    for state, number in jobs.items():
        family.add_metric([state], number)
    yield family


def _of_organizations(seen: list[Seen]) -> Iterable[GaugeMetricFamily]:
    labels = ["organization", "source"]
    age = GaugeMetricFamily("medmirror_freshness_seconds", "Seconds since the last sync that succeeded.", labels=labels)
    state = GaugeMetricFamily("medmirror_organization_state", "1 for the state it is in.", labels=[*labels, "state"])
    letters = GaugeMetricFamily(
        "medmirror_dead_letters_open", "Dead letters that nobody has dealt with.", labels=labels
    )
    failures = GaugeMetricFamily("medmirror_sync_failures", "Failures since the last success.", labels=labels)
    for clinic in seen:
        who = [clinic.organization_id, clinic.source]
        if clinic.age is not None:
            age.add_metric(who, clinic.age)
        for name in STATES:
            state.add_metric([*who, name], float(name == clinic.badge))
        letters.add_metric(who, clinic.dead_letters)
        failures.add_metric(who, clinic.failures)
    return age, state, letters, failures
