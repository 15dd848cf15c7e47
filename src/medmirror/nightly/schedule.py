"""Running the parts of a night side by side: each as soon as what it waits for is done, under the limits.

A thread a part. A load has its own worker processes, so a thread only waits for them. The main thread hands out the
parts and does nothing else, so that Ctrl-C finds it at once.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medmirror.errors import MedmirrorError
from medmirror.nightly.governor import Stopped
from medmirror.nightly.graph import Part

_log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds between two looks at the clock, the lock and the signals
_ALONE = {"index", "dedup"}
_DONE, _NEVER = {"done", "rejects"}, {"failed", "skipped", "stopped"}
OWN_CONNECTIONS = 2  # the lock's and the books'

Answer = Mapping[str, Any]
"""What came of a part: `status` done, rejects (something of it is open) or failed (with `error`), and its counts."""


@dataclass(slots=True)
class Result:
    """How a part ended: `done`, `rejects`, `failed` (with the error), `skipped` (a part that it waited for failed),
    `stopped` (the night was stopped while it ran) or `open` (it never began)."""

    name: str
    status: str = "open"
    seconds: float = 0.0
    began: float | None = None  # seconds after the night began
    error: str | None = None
    answer: Answer = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Room:
    """How many worker processes and connections all parts may have together; what each part takes is asked of
    *workers*."""

    workers: int
    connections: int
    takes: Callable[[Part], int]

    def cost(self, part: Part) -> tuple[int, int]:
        """Workers and connections of *part*: never more than there are in all, else it could never begin."""
        wanted = self.takes(part)
        if not wanted:
            return 0, 1
        workers = max(1, min(wanted, self.workers, self.connections - OWN_CONNECTIONS - 1))
        return workers, workers + 1


class Schedule:
    """A night's *parts* on their way; ``results`` by name, in their order."""

    def __init__(
        self,
        parts: Sequence[Part],
        room: Room,
        work: Callable[[Part, int], Answer],
        may_begin: Callable[[Part], bool] = lambda part: True,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.parts, self.room = parts, room
        self.results = {part.name: Result(part.name) for part in parts}
        self._work, self._may_begin, self._check = work, may_begin, check
        self._ended: queue.Queue[Part] = queue.Queue()
        self._running: dict[str, Part] = {}
        self._workers = self._connections = 0
        self._began = time.monotonic()

    def run(self, stop: Callable[[str], None]) -> None:
        """Run every part; return when all that began have ended.

        KeyboardInterrupt, and whatever *check* raises, ends the night early: *stop* is called with the reason, what is
        under way is waited for, and the interrupt goes through.
        """
        try:
            while self._hand_out() or self._running:
                self._take_in(_LOOK)
                self._check()
        except BaseException as problem:
            stop(str(problem) or "it was interrupted")
            while self._running:
                self._take_in(None)
            raise

    def _hand_out(self) -> bool:
        """Begin what may begin; return whether anything still waits."""
        waiting = [part for part in self.parts if self.results[part.name].status == "open"]
        for part in waiting:
            states = {name: self.results[name].status for name in part.after}
            if blocked := [name for name, state in states.items() if state in _NEVER]:
                self._skip(part, blocked)
            elif set(states.values()) <= _DONE and self._fits(part) and self._may_begin(part):
                self._begin(part)
        return any(self.results[part.name].status == "open" for part in self.parts)

    def _skip(self, part: Part, blocked: Sequence[str]) -> None:
        result = self.results[part.name]
        result.status, result.error = "skipped", f"it waits for {', '.join(blocked)}"
        _log.error("skipped: %s: %s", part.name, result.error)

    def _fits(self, part: Part) -> bool:
        workers, connections = self.room.cost(part)
        return (
            self._workers + workers <= self.room.workers
            and self._connections + connections + OWN_CONNECTIONS <= self.room.connections
            and not any(_apart(part, other) for other in self._running.values())
        )

    def _begin(self, part: Part) -> None:
        workers, connections = self.room.cost(part)
        self._workers += workers
        self._connections += connections
        self._running[part.name] = part
        result = self.results[part.name]
        result.status, result.began = "running", round(time.monotonic() - self._began, 3)
        _log.info("begins: %s", part.name)
        threading.Thread(target=self._run, args=(part, workers), name=part.name, daemon=True).start()

    def _run(self, part: Part, workers: int) -> None:
        result = self.results[part.name]
        began = time.monotonic()
        try:
            answer = self._work(part, workers)
            result.answer, status = answer, str(answer.get("status", "done"))
            result.error = answer.get("error")
        except Stopped as problem:
            status, result.error = "stopped", str(problem) or None
        except MedmirrorError as problem:
            status, result.error = "failed", f"{type(problem).__name__}: {problem}"
        except BaseException as problem:  # noqa: BLE001 - whatever a part dies of, the others go on and the receipt says it
            status, result.error = "failed", _without_words(problem)
        result.seconds = round(time.monotonic() - began, 3)
        result.status = status
        self._ended.put(part)

    def _take_in(self, seconds: float | None) -> None:
        """Wait up to *seconds* for a part to end, and give back what it took."""
        try:
            part = self._ended.get(timeout=seconds)
        except queue.Empty:
            return
        del self._running[part.name]
        workers, connections = self.room.cost(part)
        self._workers -= workers
        self._connections -= connections
        result = self.results[part.name]
        level = logging.INFO if result.status in ("done", "rejects") else logging.ERROR
        _log.log(level, "%s: %s in %.1f s%s", result.status, part.name, result.seconds, _because(result))


def _apart(part: Part, other: Part) -> bool:
    """Whether the two must not run side by side: both heavy, or of a kind that works under one lock for all."""
    return (part.when.heavy and other.when.heavy) or (part.kind == other.kind and part.kind in _ALONE)


def _without_words(problem: BaseException) -> str:
    """The class of an error and where it arose: its own text may quote a row."""
    last = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{type(problem).__name__} in {Path(last.filename).name}, line {last.lineno}"


def _because(result: Result) -> str:
    return f": {result.error}" if result.error else ""
