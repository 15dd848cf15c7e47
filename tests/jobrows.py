"""The jobs that a database holds, for the tests to look at."""

from __future__ import annotations

from sqlalchemy import Connection, text

from medmirror.jobs.job import Job, of_row


def all_jobs(conn: Connection) -> list[Job]:
    """Every job, newest first."""
    rows = conn.execute(text("SELECT * FROM medmirror.job ORDER BY created_at DESC, job_id")).mappings()
    return [of_row(row) for row in rows]
