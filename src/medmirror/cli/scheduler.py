"""``medmirror scheduler``."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from medmirror.cli import output
from medmirror.cli.options import Command, shared
from medmirror.settings import ScheduleSettings, read

if TYPE_CHECKING:
    from medmirror.schedule.runner import Tick

_LEADS = "This scheduler leads."
_STANDS_BY = "Another scheduler leads, or the database is gone: this one stands by."
_DISABLED = "ENABLE_SYNC_SCHEDULER is false: nothing is scheduled."


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Look once, ask for what is due, and end: for a timer of your own.")
def scheduler(once: bool) -> output.Answer:
    """Have every organisation synchronised when it is due: within business hours, and once a night in full.

    Stays until it is stopped. Many may run on any machines: one leads, another takes over when that one is gone. Jobs
    are done by `medmirror worker` or `medmirror serve`. When what is due is set by ENABLE_SYNC_SCHEDULER,
    SYNC_INTERVAL_MINUTES and others: docs/scheduling.md.

    Exit code: 0 stopped, 1 failed, 2 wrong usage.
    """
    from medmirror.clock import SYSTEM
    from medmirror.db.database import open_database
    from medmirror.jobs import queue
    from medmirror.schedule import leader, runner

    schedule = read(ScheduleSettings)
    if not schedule.enabled:
        return output.Answer({"enabled": False, "asked": []}, lambda: [_DISABLED])
    engine, settings = open_database(shared().settings())
    line = queue.of(settings)
    try:
        if once:
            ticked = runner.look(engine, line, SYSTEM, schedule)
            return output.Answer(_document(ticked), lambda: runner.summary(ticked))
        leader.lead(engine, settings.dsn_text, line, SYSTEM, schedule, _stop(), notify=_tell)
        return output.Answer({"stopped": True}, lambda: ["The scheduler has stopped."])
    finally:
        line.close()
        engine.dispose()


def _stop() -> threading.Event:
    """Set by Ctrl-C or SIGTERM: a look that is under way is ended first."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stop.set())
    return stop


def _tell(news: Tick | bool) -> None:
    from medmirror.schedule import runner

    if isinstance(news, bool):
        lines = [_LEADS if news else _STANDS_BY]
    elif news.asked or news.swept:
        lines = list(runner.summary(news))
    else:
        return
    options = shared()
    if not options.quiet and not options.json:
        output.show(output.Answer(None, lambda: lines), as_json=False)


def _document(ticked: Tick) -> dict[str, Any]:
    asked = [
        {
            "organization": each.organization.organization_id,
            "source": each.organization.source,
            "what": each.due.what,
            "due_at": each.due.at,
            "why": each.due.why,
            "outcome": answer.outcome,
            "job": answer.job.job_id,
            "begins_at": answer.job.next_at,
        }
        for each, answer in ticked.asked
    ]
    return {"enabled": True, "asked": asked, "swept": ticked.swept, "next_at": ticked.next_at}
