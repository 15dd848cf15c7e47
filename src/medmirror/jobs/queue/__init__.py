"""The queues of jobs: one in the database itself (procrastinate), one in Amazon SQS."""

from __future__ import annotations

from medmirror.errors import UsageError
from medmirror.jobs.queue.base import Queue
from medmirror.settings import Settings


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


__all__ = ["Queue", "of"]
