"""Lets chunks go only as fast as the share of the processors allows.

A bucket of CPU seconds: time fills it at the share of all processors, what the processors were busy with empties it,
whoever kept them busy. So the night gives way when others need the machine, and takes what they leave. It is asked
before each chunk; while the bucket is overdrawn, the chunk waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from medmirror.ingest.resources import Meter

_SAVED = 2.0  # seconds of the share that an idle time may save up: so long may a burst be
_OWED = 30.0  # seconds of the share that may be owed: what others did before is not made up for all night
_LOOK = 0.25  # seconds between two looks at the processors while a chunk waits
_LONGEST = 2.0  # seconds after which a chunk goes in any case: beside a program that takes everything we still get on


class Stopped(KeyboardInterrupt):
    """The night is to end: a load that hears it finishes the chunks under way and goes on another time."""


class Governor:
    """Keeps *share* (0..1; 1: the whole machine, so that nothing waits) of *cpus* processors by *measure*. Shared by
    all parts; one chunk goes at a time.

    *closes*: when the window ends, by *clock*; None: never. *wait* sleeps so many seconds and says whether the night
    was stopped meanwhile.
    """

    def __init__(
        self,
        share: float,
        cpus: int,
        measure: Meter,
        *,
        closes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._rate, self._all = share * cpus, share >= 1
        self._measure, self._clock, self._closes = measure, clock, closes
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._turn = threading.Lock()
        self._credit = 0.0
        self._since = clock()
        self._busy = measure()
        self.waited = 0.0
        """Seconds that chunks have waited so far."""
        self.reason: str | None = None
        """Why the night was stopped; None: it was not."""

    def stop(self, reason: str) -> None:
        """Have every part that asks for its next chunk hear that the night is to end."""
        self.reason = self.reason or reason
        self._stop.set()

    def check(self) -> None:
        """Raise Stopped when the night was stopped or its window has ended."""
        if self._closes is not None and self._clock() >= self._closes:
            self.stop("the time window has ended")
        if self._stop.is_set():
            raise Stopped(self.reason)

    def pace(self) -> None:
        """Return when the next chunk may go. Raises Stopped instead when the night is to end."""
        with self._turn:
            began = self._clock()
            self.check()
            while not self._all and self._overdrawn() and self._clock() - began < _LONGEST:
                self._wait(_LOOK)
                self.check()
            self.waited += self._clock() - began

    def _overdrawn(self) -> bool:
        now, busy = self._clock(), self._measure()
        self._credit += self._rate * (now - self._since) - (busy - self._busy)
        self._credit = max(-_OWED * self._rate, min(_SAVED * self._rate, self._credit))
        self._since, self._busy = now, busy
        return self._credit < 0
