"""A clock that a program advances, so that a week of clinic life passes in a minute."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from medmirror.clock import Clock


class SimulatedClock:
    """A time that stands still until a thread waits or advances it. May be shared between threads."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("The start of a clock needs a time zone.")
        self._lock = threading.Lock()
        self._now = start.astimezone(UTC)
        self.slept = 0.0  #: seconds that were waited, all threads together

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> datetime:
        """Let *seconds* pass at once; return the new time."""
        with self._lock:
            self._now += timedelta(seconds=max(0.0, seconds))
            return self._now

    def set(self, now: datetime) -> None:
        """Set the time to *now* (aware), earlier or later."""
        with self._lock:
            self._now = now.astimezone(UTC)

    def _sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept += max(0.0, seconds)
            self._now += timedelta(seconds=max(0.0, seconds))

    @property
    def clock(self) -> Clock:
        """The same time as a Clock of the engine; a sleep on it lets the time pass."""
        return Clock(self.now, self._sleep)
