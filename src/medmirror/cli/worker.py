"""``medmirror worker``: does the jobs that are asked for, until it is told to stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output
from medmirror.cli.options import Command, shared

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from medmirror.jobs.queue import Queue
    from medmirror.settings import Settings

_AWAITED = 0.5  # seconds between looks whether a signal has come


@click.command(cls=Command)
@click.option("--concurrency", default=2, show_default=True, type=click.IntRange(1, 64), help="Jobs at once.")
@click.option("--queue", "name", metavar="QUEUE", help="Where jobs wait: postgres, or sqs://NAME.")
@click.option("--burst", is_flag=True, help="Do what is due, one after the other, and end.")
@click.option("--once", is_flag=True, help="Do one job that is due, and end.")
@click.option("--create-queue", is_flag=True, help="Make the queue in SQS and its dead queue, and end.")
def worker(concurrency: int, name: str | None, burst: bool, once: bool, create_queue: bool) -> output.Answer:
    """Do the jobs that syncs, webhooks and the schedule ask for. As many workers as you like may run, anywhere.

    Ctrl-C or SIGTERM: jobs under way are put back at their next page, and go on elsewhere from there.
    """
    from medmirror.db import connect
    from medmirror.db.database import open_database
    from medmirror.jobs import queue

    settings = shared().settings(queue=name)
    if create_queue:
        return _create(settings)
    engine, settings = open_database(settings)
    engine.dispose()
    engine = connect.engine_of(settings, pool_size=2 * concurrency + 2)
    line = queue.of(settings)
    try:
        done = _burst(engine, line, settings, 1 if once else None) if burst or once else None
        if done is None:
            _work(engine, line, settings, concurrency)
    finally:
        line.close()
        engine.dispose()
    message = "stopped" if done is None else "1 job done" if done == 1 else f"{done:,} jobs done"
    return output.Answer({"jobs": done}, lambda: [message])


def _create(settings: Settings) -> output.Answer:
    from medmirror.errors import UsageError
    from medmirror.jobs import queue

    line: Any = queue.of(settings)
    if not hasattr(line, "create"):
        raise UsageError("Only a queue in SQS is made: --queue sqs://NAME")
    line.create()
    line.close()
    return output.Answer({"queue": settings.queue}, lambda: [f"{settings.queue} is there, and its dead queue"])


def _burst(engine: Engine, line: Queue, settings: Settings, most: int | None) -> int:
    from medmirror.clock import SYSTEM
    from medmirror.jobs import worker
    from medmirror.jobs.handler import handler

    return worker.burst(engine, line, handler(engine, settings, SYSTEM), SYSTEM, limit=most)


def _work(engine: Engine, line: Queue, settings: Settings, concurrency: int) -> None:
    """Work in a thread: the signal comes to this one, as KeyboardInterrupt (see ``cli.main``)."""
    from medmirror.clock import SYSTEM
    from medmirror.jobs import worker
    from medmirror.jobs.handler import handler

    stop, failed = threading.Event(), list[BaseException]()
    handle = handler(engine, settings, SYSTEM)

    def run() -> None:
        try:
            worker.work(engine, line, handle, SYSTEM, concurrency=concurrency, stop=stop)
        except BaseException as error:  # noqa: BLE001 - raised where it can be told
            failed.append(error)

    thread = threading.Thread(target=run, name="worker")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_AWAITED)
    except KeyboardInterrupt:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
