"""Faults of a local server, set by number, by path or by chance while it runs.

Any server: ``limited`` (429), ``unavailable`` (5xx), ``truncated`` (a body shorter than its Content-Length), ``closed``
(the connection ends before the request is looked at), ``lost`` (the request is carried out, its answer is not sent),
``slow``, ``empty`` (lists hold nothing), ``expired`` (page tokens are forgotten). A store of records: ``late`` (a
change is seen only some seconds after the time it bears), ``equal`` (a change bears the time of the one before it),
``touched`` (a record is changed between two pages). ``skew`` moves the clock of the Date header.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

What = Literal[
    "limited",
    "unavailable",
    "truncated",
    "closed",
    "lost",
    "slow",
    "empty",
    "expired",
    "late",
    "equal",
    "touched",
]
How = Literal["seconds", "date", "reset", "silent"]
"""How a 429 says when to come again: Retry-After in seconds or as a date, X-RateLimit-Reset, or not at all."""


@dataclass(slots=True)
class Fault:
    """A fault: on requests whose path *path* (a glob) fits and whose method is *method* ("": any, "write": any but GET
    and HEAD), at most *times* times (None: until it is taken away), each with the probability *chance*. *seconds*: how
    long, for faults that take time."""

    what: What
    times: int | None
    chance: float
    path: str
    seconds: float
    how: How
    status: int
    method: str

    def fits(self, path: str, method: str) -> bool:
        """Whether it may happen to a request with this path and method."""
        same = method not in ("GET", "HEAD") if self.method == "write" else self.method in ("", method)
        return self.times != 0 and same and fnmatchcase(path, self.path)


class Faults:
    """The faults that are set now. May be changed while the server runs; the same *seed* gives the same chances."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.random = random.Random(seed)
        self.skew = 0.0  #: seconds that the Date header is ahead
        self.struck: dict[str, int] = {}  #: how often each has happened

    def add(
        self,
        what: What,
        *,
        times: int | None = None,
        chance: float = 1.0,
        path: str = "*",
        seconds: float = 30.0,
        how: How = "seconds",
        status: int = 503,
        method: str = "",
    ) -> None:
        """Set the fault *what* (see Fault)."""
        with self._lock:
            self._faults.append(Fault(what, times, chance, path, seconds, how, status, method))

    def calm(self, what: What | None = None) -> None:
        """Take away all faults, or only *what*."""
        with self._lock:
            self._faults = [fault for fault in self._faults if what is not None and fault.what != what]
            if what is None:
                self.skew = 0.0

    def strikes(self, what: What, path: str = "", method: str = "") -> Fault | None:
        """The fault *what* if it happens to this request (it is then counted); None if it does not."""
        with self._lock:
            for fault in self._faults:
                if fault.what != what or not fault.fits(path, method):
                    continue
                if fault.chance < 1.0 and self.random.random() >= fault.chance:
                    continue
                if fault.times is not None:
                    fault.times -= 1
                self.struck[what] = self.struck.get(what, 0) + 1
                return fault
        return None

    def lateness(self) -> float:
        """The seconds from the time of the next change until it can be seen: 0, or up to the seconds of the fault
        ``late``."""
        fault = self.strikes("late")
        if fault is None:
            return 0.0
        with self._lock:
            return self.random.uniform(0.0, fault.seconds)
