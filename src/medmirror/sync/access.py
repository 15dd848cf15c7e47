"""The access to a remote while an organisation is synchronised: its rate budget, its circuit breaker and its notes."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from sqlalchemy import Engine

from medmirror.clock import SYSTEM, Clock
from medmirror.remotes.base import Around, Kind
from medmirror.sync.breaker import Breaker
from medmirror.sync.budget import PATIENCE, Budget
from medmirror.sync.notes import SyncNotes
from medmirror.sync.organizations import Organization

_FAILED = 500  # statuses from this one on are failures of the remote


def hosts(organization: Organization) -> str:
    """Return the hosts (with ports) that the settings of *organization* name, separated by spaces.

    No other part of an address is returned, because it may hold a password.
    """
    names = set()
    for value in organization.settings.values():
        if not isinstance(value, str) or "://" not in value:
            continue
        try:
            parts = urlsplit(value)
            port = "" if parts.port is None else f":{parts.port}"
        except ValueError:  # not an address after all
            continue
        if parts.hostname:
            names.add(f"{parts.hostname}{port}")
    return " ".join(sorted(names))


def remote_of(organization: Organization) -> str:
    """Return the remote of *organization* for people: kind and host."""
    return f"{organization.remote} {hosts(organization)}".strip()


def key_of(organization: Organization) -> str:
    """Return the key of budget and breaker for the remote of *organization*.

    It is a digest of the remote's kind and host and of the name of the secret, never of the secret. Organisations that
    use one key of one host share it. Without a secret the organisations of one host share it, and without a host each
    has its own.
    """
    host = hosts(organization)
    owner = organization.secret or ("" if host else f"{organization.organization_id}/{organization.source}")
    text = "\0".join((organization.remote, host, owner))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def around(
    engine: Engine,
    organization: Organization,
    kind: Kind,
    clock: Clock = SYSTEM,
    *,
    share: float = 1.0,
    patience: float = PATIENCE,
) -> Around:
    """Return budget, breaker and notes of the remote of *organization*, as the remote takes them.

    *engine* is the owner's. *share*: the share of the budget, below 1 for work that may wait (a backfill). The
    organisation's own windows go before those of its kind.
    """
    key, remote = key_of(organization), remote_of(organization)
    windows = kind.windows if organization.windows is None else organization.windows
    budget = Budget(engine, key, windows, clock, remote=remote, share=share, patience=patience)
    breaker = Breaker(engine, key, clock, remote=remote)

    def permit() -> None:
        breaker.check()
        budget.take()  # when it refuses the probe of the breaker, that probe is given up after a minute

    def called(status: int) -> None:
        if status == 0 or status >= _FAILED:
            breaker.failed(status)
        else:
            breaker.worked()

    notes = SyncNotes(engine, organization.organization_id, organization.source)
    return Around(permit=permit, limited=budget.hold, called=called, sleep=clock.sleep, notes=notes)
