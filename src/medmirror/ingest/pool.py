"""Tasks spread over worker processes, any of which may die: nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from medmirror.ingest import executors

Task = TypeVar("Task")
Result = TypeVar("Result")

_IN_FLIGHT = 2  # tasks a worker: one that it does, and one that waits for it


def spread(
    tasks: Iterator[Task],
    submit: Callable[[Executor, Task], Future[Result]],
    make_executor: Callable[[], Executor],
    workers: int,
    *,
    done: Callable[[Task, Result], None],
    died: Callable[[list[Task]], Iterable[Task]],
    pace: Callable[[], None] = lambda: None,
) -> None:
    """Have the workers of an executor do *tasks*, at most two a worker in flight.

    *submit* hands a task to the executor. *done* is called here, in this process, with each task and its result.
    When a worker dies it takes the whole pool with it, and nobody knows which task it was: *died* is called with all
    that were under way, and returns those that are to be done again, by a new executor of *make_executor*. *pace* is
    called before each task is handed out: it may sleep.

    An error of a task, of *done* or of *died*, and KeyboardInterrupt, go through after the tasks under way have ended;
    those of them that succeeded are still given to *done*.
    """
    executor: Executor | None = None
    flying: dict[Future[Result], Task] = {}
    lost: list[Task] = []
    try:
        while True:
            while len(flying) < _IN_FLIGHT * workers and not lost and (task := next(tasks, None)) is not None:
                pace()
                executor = executor or make_executor()
                try:
                    flying[submit(executor, task)] = task
                except BrokenProcessPool:
                    lost.append(task)
            if not flying and not lost:
                return
            ended, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in ended:
                task = flying.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    lost.append(task)
                else:
                    done(task, result)
            if lost:
                lost += flying.values()
                flying.clear()
                if executor is not None:
                    executor.shutdown(wait=True, cancel_futures=True)
                executor = None
                tasks = itertools.chain(died(lost), tasks)
                lost = []
    except BaseException:
        for future in flying:
            future.cancel()
        wait(flying)
        for future, task in flying.items():
            if not future.cancelled() and future.exception() is None:
                done(task, future.result())
        raise
    finally:
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)


class Single:
    """One worker process at a time; after a death the next call gets a new one."""

    def __init__(self) -> None:
        self._executor: Executor | None = None

    def call(self, function: Callable[..., Result], *arguments: object) -> Result | None:
        """What *function* returns there; None when the process died."""
        self._executor = self._executor or executors.local(1)
        try:
            return self._executor.submit(function, *arguments).result()
        except BrokenProcessPool:
            self._stop()
            return None

    def _stop(self) -> None:
        if self._executor:
            self._executor.shutdown(wait=True)
        self._executor = None

    def __enter__(self) -> Single:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
