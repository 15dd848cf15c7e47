"""What time it is, and how to wait: handed in, so that a week of clinic life can pass in a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple


class Clock(NamedTuple):
    """*now* gives the time (aware, UTC); *sleep* waits for seconds."""

    now: Callable[[], datetime]
    sleep: Callable[[float], None]


SYSTEM = Clock(lambda: datetime.now(UTC), time.sleep)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(microseconds: int) -> datetime:
    """That time since 1970 as an aware time."""
    return EPOCH + timedelta(microseconds=microseconds)


def microseconds(time: datetime) -> int:
    """An aware time as microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)
