"""The queues: in the database itself (procrastinate), or Amazon SQS.

A queue wakes a worker for a job. Losing a message or giving it twice must do no harm: whether there is anything to do
says the row in medmirror.job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from medmirror.errors import UsageError
from medmirror.settings import Settings


class Queue(Protocol):
    """A queue of messages, each of them a job's id. Methods raise StoreUnavailable when it cannot be reached."""

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        """Send a message for *job_id*, to be received in *delay* seconds; a higher *priority* goes first.

        A second message for a job may be dropped while the first waits. The earlier time and the higher priority of the
        two then hold, if the queue supports them.
        """

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        """Call *execute* for each message, up to *concurrency* at once in threads, until *stop* is set.

        Calls that have begun are ended before the return. A queue that cannot be reached is tried again.
        """

    def depth(self) -> int:
        """Return how many messages wait, delayed ones included."""

    def close(self) -> None:
        """Close the connections."""


def of(settings: Settings) -> Queue:
    """Return the queue that *settings* name, not connected yet. Raises UsageError when its library is not installed."""
    kind, _, name = settings.queue.partition("://")
    try:
        if kind == "sqs":
            from medmirror.jobs.queue import sqs

            return sqs.SqsQueue(name)
        from medmirror.jobs.queue import postgres

        return postgres.PostgresQueue(settings.dsn_text)
    except ModuleNotFoundError as error:
        extra = "sqs" if kind == "sqs" else "sync"
        raise UsageError(f"The queue needs {error.name}; install it: pip install 'medmirror[{extra}]'") from None
