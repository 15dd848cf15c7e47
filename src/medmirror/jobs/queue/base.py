"""What a queue does: it wakes a worker for a job. Losing a message or giving it twice must do no harm, because whether
there is anything to do says the row in medmirror.job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol
from uuid import UUID


class Queue(Protocol):
    """Messages that are a job's id and nothing else. Errors: StoreUnavailable when it cannot be reached."""

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        """Have some worker wake for *job_id* in *delay* seconds; of those that wait, a higher *priority* goes first.

        A second message for the same job may be dropped when one waits; then the sooner time and the higher priority
        of the two hold, where the queue knows such a thing.
        """

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        """Call *execute* for each message, up to *concurrency* at once in threads, until *stop* is set; what has
        begun is ended first. Survives that the queue cannot be reached for a while."""

    def depth(self) -> int:
        """How many messages wait, those with a time to come among them."""

    def close(self) -> None:
        """Let go of its connections."""
