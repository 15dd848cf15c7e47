"""Running parts side by side: order, limits, failures, and the end of a night."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from medmirror.errors import SourceError
from medmirror.nightly.config import When
from medmirror.nightly.governor import Stopped
from medmirror.nightly.graph import Part
from medmirror.nightly.schedule import OWN_CONNECTIONS, Room, Schedule


def part(name: str, *after: str, heavy: bool = False) -> Part:
    """A load of this name."""
    return Part(name, "load", "pubmed", None, When(heavy=heavy), after)


class Watch:
    """Work that notes what runs beside what. Parts meet at *together* when given; the others wait until *beside* of
    them have run side by side, and then a moment, for one that must not run with them."""

    def __init__(self, beside: int = 1, *, together: dict[str, threading.Barrier] | None = None) -> None:
        self.together = together or {}
        self.many, self.enough = beside, threading.Event()
        self.running: dict[str, int] = {}
        self.order: list[str] = []
        self.most_workers = self.most_parts = 0
        self.beside: list[frozenset[str]] = []
        self._lock = threading.Lock()

    def __call__(self, one: Part, workers: int) -> dict[str, Any]:
        """Run."""
        with self._lock:
            self.running[one.name] = workers
            self.beside.append(frozenset(self.running))
            self.most_workers = max(self.most_workers, sum(self.running.values()))
            self.most_parts = max(self.most_parts, len(self.running))
            if self.most_parts >= self.many:
                self.enough.set()
        if one.name in self.together:
            self.together[one.name].wait(120)
        else:
            assert self.enough.wait(120)
            time.sleep(0.02)
        with self._lock:
            del self.running[one.name]
            self.order.append(one.name)
        return {"status": "done", "read": 1}


def never(reason: str) -> None:
    """What is called when a night is stopped; these are not."""
    raise AssertionError(reason)


def room(workers: int = 8, connections: int = 100, takes: Callable[[Part], int] = lambda one: 1) -> Room:
    """Limits."""
    return Room(workers, connections, takes)


def test_independent_parts_run_side_by_side_and_dependents_wait() -> None:
    meet = threading.Barrier(2)  # each waits for the other: one after the other they would never end
    watch = Watch(together={"a": meet, "b": meet})
    schedule = Schedule([part("a"), part("b"), part("c", "a", "b"), part("d", "c")], room(), watch)
    schedule.run(never)
    assert watch.order[2:] == ["c", "d"]
    assert {one.status for one in schedule.results.values()} == {"done"}
    assert schedule.results["a"].answer["read"] == 1


def test_workers_and_connections_are_limits_over_all_parts() -> None:
    many = [part(str(number)) for number in range(12)]
    watch = Watch(2)
    Schedule(many, room(workers=4, takes=lambda one: 2), watch).run(never)
    assert (watch.most_workers, watch.most_parts) == (4, 2)
    watch = Watch(3)
    Schedule(many, room(workers=100, connections=OWN_CONNECTIONS + 7, takes=lambda one: 1), watch).run(never)
    assert watch.most_parts == 3  # two connections each


def test_a_part_that_wants_more_than_there_is_gets_what_there_is() -> None:
    watch = Watch()
    narrow = room(workers=3, connections=OWN_CONNECTIONS + 3, takes=lambda one: 9)
    Schedule([part("a"), part("b")], narrow, watch).run(never)
    assert (watch.most_workers, watch.most_parts) == (2, 1)


def test_heavy_parts_are_never_two_at_once() -> None:
    some = [part(f"h{number}", heavy=True) for number in range(3)] + [part(f"l{number}") for number in range(3)]
    watch = Watch(2)
    Schedule(some, room(), watch).run(never)
    assert all(len([name for name in beside if name.startswith("h")]) <= 1 for beside in watch.beside)
    assert watch.most_parts >= 2


def test_a_part_waits_for_its_time() -> None:
    opened = threading.Event()
    watch = Watch()

    def may_begin(one: Part) -> bool:
        if watch.order:
            opened.set()
        return one.name != "late" or opened.is_set()

    Schedule([part("late"), part("early")], room(), watch, may_begin).run(never)
    assert watch.order == ["early", "late"]


def test_when_one_part_fails_the_rest_goes_on_and_its_dependents_are_skipped_and_named() -> None:
    def work(one: Part, workers: int) -> dict[str, Any]:
        if one.name == "bad":
            raise SourceError("It is no file of ours.", file="x")
        if one.name == "worse":
            raise ValueError("zq: a value of a record")
        return {"status": "rejects" if one.name == "half" else "done"}

    some = [part("bad"), part("worse"), part("good"), part("half"), part("next", "half")]
    some += [part("child", "bad", "good"), part("grandchild", "child")]
    schedule = Schedule(some, room(), work)
    schedule.run(never)
    states = {name: one.status for name, one in schedule.results.items()}
    assert states == {
        "bad": "failed", "worse": "failed", "good": "done", "half": "rejects", "next": "done",
        "child": "skipped", "grandchild": "skipped",
    }  # fmt: skip
    assert schedule.results["bad"].error == "SourceError: It is no file of ours. (file=x)"
    assert schedule.results["child"].error == "it waits for bad"
    assert schedule.results["grandchild"].error == "it waits for child"
    worse = schedule.results["worse"].error or ""
    assert worse.startswith("ValueError in test_nightly_schedule.py, line ")
    assert "zq" not in worse


def test_an_interrupt_ends_what_runs_and_leaves_the_rest_open() -> None:
    heard = threading.Event()

    def work(one: Part, workers: int) -> dict[str, Any]:
        if heard.wait(120):
            raise Stopped("somebody asked")
        return {}

    def check() -> None:
        raise KeyboardInterrupt

    schedule = Schedule([part("a"), part("b", "a")], room(), work, check=check)
    reasons: list[str] = []

    def stop(reason: str) -> None:
        reasons.append(reason)
        heard.set()

    with pytest.raises(KeyboardInterrupt):
        schedule.run(stop)
    assert [(one.name, one.status) for one in schedule.results.values()] == [("a", "stopped"), ("b", "open")]
    assert reasons == ["it was interrupted"]
