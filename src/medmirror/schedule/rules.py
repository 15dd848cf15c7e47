"""The rule of each organisation, from the settings of the scheduler."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from medmirror.errors import UsageError
from medmirror.schedule.due import Rule
from medmirror.settings import ScheduleSettings
from medmirror.sync.organizations import Organization


def rule(schedule: ScheduleSettings, organization: Organization) -> Rule:
    """Return how often *organization* is synchronised. A tier that is not in *schedule* counts as standard.

    Raises UsageError when its time zone is not in the tz database.
    """
    try:
        zone = organization.tz
    except ValueError:
        raise UsageError(
            f"{organization.organization_id} has no time zone of the tz database: {organization.zone!r}."
        ) from None
    identity = f"{organization.organization_id}\0{organization.source}".encode()
    part = int.from_bytes(hashlib.sha256(identity).digest()[:4]) / 2**32  # the same each day
    opens, closes = schedule.hours
    return Rule(
        interval=schedule.tiers.get(organization.tier, schedule.standard),
        opens=opens,
        closes=closes,
        days=schedule.days,
        full_at=schedule.full_at,
        zone=zone,
        offset=timedelta(seconds=int(part * schedule.jitter.total_seconds())),
    )
