"""The interface of a queue: it wakes a worker for a job.

A message that is lost or comes twice does no harm, because the row in medmirror.job says whether there is work to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol
from uuid import UUID


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
