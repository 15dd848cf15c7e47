"""The governor on a clock of its own: a machine that is simulated to the second."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from pathlib import Path

import pytest

from medmirror.ingest import resources
from medmirror.nightly.governor import Governor, Stopped


class Machine:
    """A machine of *cpus* processors with workers that each take a chunk as soon as they may, and others' load beside
    them. ``busy()`` is what its meter says; time passes only in ``wait``."""

    def __init__(self, cpus: int, chunk: float, workers: int, others: Callable[[float], float] | None = None) -> None:
        self.cpus, self.chunk, self.workers = cpus, chunk, workers
        self.others = others or (lambda now: 0.0)
        self.now = 0.0
        self.used = 0.0  # CPU seconds of all
        self.own = 0.0
        self.flying: list[float] = []  # when each chunk under way ends

    def wait(self, seconds: float) -> bool:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            step = min(0.05, end - self.now)
            self.flying = [one for one in self.flying if one > self.now]
            wanted = min(len(self.flying), self.workers, self.cpus)
            share = min(1.0, self.cpus / max(0.001, wanted + self.others(self.now)))  # of what each wants
            self.own += wanted * share * step
            self.used += (wanted + self.others(self.now)) * share * step
            self.now += step
        return False

    def submit(self) -> None:
        """Take a chunk; wait until there is room for it, as the pipeline does."""
        while len([one for one in self.flying if one > self.now]) >= 2 * self.workers:
            self.wait(0.05)
        slots = [one for one in self.flying if one > self.now]
        free = heapq.nsmallest(1, slots)[0] if len(slots) >= self.workers else self.now
        self.flying.append(free + self.chunk)

    def run(self, governor: Governor, seconds: float) -> tuple[float, float]:
        """Hand out chunks for *seconds*; return the share of the machine that all, and that we alone, took of it."""
        first, own, began = self.used, self.own, self.now
        while self.now < began + seconds:
            governor.pace()
            self.submit()
            self.wait(0.01)
        passed = (self.now - began) * self.cpus
        return (self.used - first) / passed, (self.own - own) / passed


def governed(machine: Machine, share: float, closes: float | None = None) -> Governor:
    """A governor of *machine*."""
    return Governor(
        share, machine.cpus, lambda: machine.used, closes=closes, clock=lambda: machine.now, wait=machine.wait
    )


@pytest.mark.parametrize(("cpus", "workers", "chunk"), [(2, 2, 0.5), (4, 4, 2.0), (16, 16, 0.3), (8, 3, 1.0)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_the_average_keeps_the_share(cpus: int, workers: int, chunk: float, share: float) -> None:
    machine = Machine(cpus, chunk, workers)
    total, _ = machine.run(governed(machine, share), 600)
    wanted = min(share, workers / cpus)  # what the workers cannot use, nobody makes them use
    assert wanted - 0.06 <= total <= share + 0.05


def test_without_a_governor_the_same_machine_would_be_full() -> None:
    machine = Machine(2, 0.5, 2)
    total, _ = machine.run(governed(machine, 1.0), 600)
    assert total > 0.93


def test_others_load_is_given_way_to_and_what_they_leave_is_taken() -> None:
    machine = Machine(4, 0.5, 4, others=lambda now: 2.0 if now > 600 else 0.0)
    governor = governed(machine, 0.6)
    _, alone = machine.run(governor, 600)
    total, beside = machine.run(governor, 600)
    assert 0.53 <= alone <= 0.65
    assert 0.55 <= total <= 0.66
    assert beside <= 0.16  # half of the machine is theirs: a tenth is left


def test_beside_one_who_takes_everything_we_still_get_on_and_recover_afterwards() -> None:
    machine = Machine(2, 0.5, 2, others=lambda now: 2.0 if now < 3600 else 0.0)
    governor = governed(machine, 0.6)
    _, beside = machine.run(governor, 3600)
    assert 0.01 <= beside <= 0.2
    _, after = machine.run(governor, 600)
    assert after >= 0.5  # an hour of theirs is not made up for


def test_an_idle_time_is_not_saved_up() -> None:
    machine = Machine(2, 0.5, 2)
    governor = governed(machine, 0.5)
    machine.wait(3600)
    total, _ = machine.run(governor, 60)
    assert total <= 0.56


def test_the_end_of_the_window_stops_whoever_asks() -> None:
    machine = Machine(2, 0.5, 2)
    governor = governed(machine, 0.6, closes=30.0)
    with pytest.raises(Stopped, match="window"):
        machine.run(governor, 600)
    assert 30.0 <= machine.now <= 31.0
    assert governor.reason is not None


def test_a_stop_is_heard_by_a_chunk_that_waits() -> None:
    machine = Machine(2, 0.5, 2, others=lambda now: 2.0)
    governor = governed(machine, 0.1)
    machine.run(governor, 30)
    governor.stop("somebody asked")
    with pytest.raises(Stopped, match="somebody asked"):
        governor.pace()
    assert isinstance(Stopped(), KeyboardInterrupt)  # what a load takes as the wish to end


def test_the_kernels_count_grows_with_work() -> None:
    if not Path("/proc/stat").exists():
        pytest.skip("no /proc/stat here")
    before = resources.proc_stat()
    sum(number * number for number in range(3_000_000))
    assert resources.proc_stat() > before > 0


def test_the_load_average_stands_in_where_the_kernel_does_not_tell() -> None:
    now = [0.0]
    load = [1.5]
    meter = resources.LoadAverage(load=lambda: load[0], cpus=2, clock=lambda: now[0])
    now[0] = 10.0
    assert meter() == pytest.approx(15.0)
    load[0], now[0] = 7.0, 20.0  # more than there are processors: the others wait
    assert meter() == pytest.approx(35.0)
