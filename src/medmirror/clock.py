"""What time it is, and how to wait: handed in, so that a week of clinic life can pass in a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple


class Clock(NamedTuple):
    """*now* gives the time (aware, UTC); *sleep* waits for seconds."""

    now: Callable[[], datetime]
    sleep: Callable[[float], None]


SYSTEM = Clock(lambda: datetime.now(UTC), time.sleep)
