"""Organisations in every state that the status page knows, written as the engine would leave them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, text

from medmirror.sync import organizations
from medmirror.sync.organizations import Organization

_STATE = text("""
INSERT INTO medmirror.sync_state
  (organization_id, source, incremental_at, full_at, success_at, failed_at, failures, recovered_at, error)
VALUES (:organization_id, :source, :success, :full, :success, :failed, :failures, :recovered, :error)
ON CONFLICT (organization_id, source) DO UPDATE
SET success_at = excluded.success_at, failures = excluded.failures, failed_at = excluded.failed_at,
    error = excluded.error, recovered_at = excluded.recovered_at, full_at = excluded.full_at,
    incremental_at = excluded.incremental_at""")
_JOB = text("""
INSERT INTO medmirror.job
  (organization_id, source, kind, mode, trigger, state, step, progress, attempts, created_at, next_at, started_at,
   finished_at, heartbeat_at, counts, error, message)
VALUES (:organization_id, :source, 'sync', :mode, :trigger, :state, :step, CAST(:progress AS jsonb), :attempts, :at,
        :at, :began, :ended, :at, CAST(:counts AS jsonb), :error, :message)
RETURNING job_id""")
_LETTER = text("""
INSERT INTO medmirror.dead_letter
  (job_id, organization_id, source, feed, scope, class, error, message, fingerprint, attempts, first_failed_at, died_at,
   contact_due)
VALUES (:job_id, :organization_id, :source, :feed, :scope, :class, :error, :message, :fingerprint, :attempts, :at, :at,
        CAST(:at AS timestamptz) + interval '24 hours')
RETURNING dead_letter_id""")
_LINE = text("INSERT INTO medmirror.job_log (job_id, at, level, message) VALUES (:job_id, :at, :level, :message)")
_MARK = text("""
INSERT INTO medmirror.watermark (organization_id, source, feed, kind, position, moved_at)
VALUES (:organization_id, :source, :feed, 'changed', :position, :at)""")


def state(
    conn: Connection,
    organization_id: str,
    success: datetime | None,
    *,
    source: str = "cliniko",
    failures: int = 0,
    recovered: datetime | None = None,
    error: str | None = None,
) -> None:
    """Write how the last syncs of an organisation went."""
    values = {"organization_id": organization_id, "source": source, "success": success, "failures": failures}
    failed = None if success is None or not failures else success + timedelta(hours=1)
    full = None if success is None else success.replace(hour=2, minute=3)
    conn.execute(_STATE, {**values, "full": full, "failed": failed, "recovered": recovered, "error": error})


def job(conn: Connection, organization_id: str, at: datetime, how: str = "succeeded", **more: object) -> object:
    """Write a job that began at *at*; its id."""
    ended = at + timedelta(seconds=23) if how in ("succeeded", "dead", "skipped") else None
    values = {"source": "cliniko", "mode": "incremental", "trigger": "schedule", "step": None, "progress": "{}"}
    more = {"attempts": 0, "counts": None, "error": None, "message": None, **more}
    row = {**values, **more, "organization_id": organization_id, "at": at, "state": how, "ended": ended,
           "began": None if how == "queued" else at}  # fmt: skip
    return conn.execute(_JOB, row).scalar_one()


def letter(conn: Connection, organization_id: str, job_id: object, at: datetime, **more: object) -> int:
    """Write an open dead letter; its number."""
    values = {"source": "cliniko", "feed": "patient", "scope": "record", "class": 2, "error": "InvalidRecord"}
    texts = {"message": "a record lacks its id", "fingerprint": "f1", "attempts": 1}
    row = {**values, **texts, **more, "organization_id": organization_id, "job_id": job_id, "at": at}
    return int(conn.execute(_LETTER, row).scalar_one())


def say(conn: Connection, job_id: object, at: datetime, message: str, level: str = "info") -> None:
    """Write a line of a job's log."""
    conn.execute(_LINE, {"job_id": job_id, "at": at, "level": level, "message": message})


def staff(conn: Connection, now: datetime) -> None:
    """Have a worker that lives, and a scheduler that looked at *now*."""
    conn.execute(text("INSERT INTO medmirror.worker (name, concurrency) VALUES ('clinic-server:812', 2)"))
    conn.execute(
        text(
            "INSERT INTO medmirror.scheduler (ticked_at, leader, organizations, asked)"
            " VALUES (:now, 'clinic-server:812', 7, 0)"
        ),
        {"now": now},
    )


NAMES = (
    ("harbour_physio", "Australia/Sydney"),
    ("north_shore_podiatry", "Australia/Sydney"),
    ("lakeside_family_practice", "Europe/Berlin"),
    ("st_brigid_clinic", "Europe/Dublin"),
    ("quay_street_osteopaths", "Pacific/Auckland"),
    ("elm_park_dental", "Europe/London"),
    ("valley_speech_therapy", "Europe/London"),
)


def street(engine: Engine, now: datetime) -> None:
    """Seven clinics, one in each state, with a fortnight behind them. *now*: business hours in London."""
    for name, zone in NAMES:
        organizations.put(engine, Organization(name, "cliniko", "cliniko", zone=zone))
    paused = Organization("valley_speech_therapy", "cliniko", "cliniko")
    with engine.begin() as conn:
        _past(conn, now)
        _present(conn, now)
    organizations.pause(engine, paused, "moves to another system in May")


def _past(conn: Connection, now: datetime) -> None:
    for back in range(1, 14):
        day = now - timedelta(days=back)
        weekend = day.weekday() >= 5
        for place, (name, _) in enumerate(NAMES[:6]):
            read = (40 if weekend else 420) + (back * 37 + place * 91) % 160
            job(conn, name, day, counts=f'{{"read": {read}, "inserted": 9}}')
    lost = job(conn, "st_brigid_clinic", now - timedelta(days=2), "dead", attempts=5, error="AuthenticationFailed")
    more = {"feed": None, "class": 3, "error": "AuthenticationFailed", "message": "the key was not accepted"}
    letter(conn, "st_brigid_clinic", lost, now - timedelta(hours=27), scope="job", fingerprint="f3", **more)
    for name, _ in NAMES[:3]:
        done = job(conn, name, now - timedelta(hours=5), counts='{"read": 37}')
        letter(conn, name, done, now - timedelta(hours=5))


def _present(conn: Connection, now: datetime) -> None:
    staff(conn, now)
    state(conn, "harbour_physio", now - timedelta(minutes=12))
    state(conn, "north_shore_podiatry", now - timedelta(minutes=48), recovered=now - timedelta(hours=2))
    state(conn, "lakeside_family_practice", now - timedelta(hours=2))
    state(conn, "st_brigid_clinic", now - timedelta(hours=26), failures=6, error="AuthenticationFailed")
    state(conn, "elm_park_dental", now - timedelta(hours=40))
    state(conn, "valley_speech_therapy", now - timedelta(days=3))
    progress = '{"run_id": 812, "read": 1284, "inserted": 31, "calls": 14, "list": "individual_appointment"}'
    going = job(conn, "lakeside_family_practice", now - timedelta(seconds=40), "in_progress", step="committed",
                trigger="api", progress=progress)  # fmt: skip
    say(conn, going, now - timedelta(seconds=40), "taken by clinic-server:812")
    say(conn, going, now - timedelta(seconds=12), "the remote asked for a pause of 3 s", "warning")
    ended = job(conn, "harbour_physio", now - timedelta(minutes=12), trigger="webhook", counts='{"read": 18}')
    say(conn, ended, now - timedelta(minutes=12), "taken by clinic-server:812")
    say(
        conn,
        ended,
        now - timedelta(minutes=12),
        "harbour_physio, cliniko, incremental: processed 4 patient, 14 appointment",
    )
    job(conn, "st_brigid_clinic", now - timedelta(minutes=1), "retrying", attempts=2, error="RemoteUnavailable")
    for feed in ("patient", "practitioner", "individual_appointment"):
        position = int((now - timedelta(minutes=13)).timestamp() * 1_000_000)
        values = {"organization_id": "harbour_physio", "source": "cliniko", "feed": feed, "position": position}
        conn.execute(_MARK, {**values, "at": now - timedelta(minutes=12)})
