-- The queue in the database itself: the tables of procrastinate, in a schema of their own. They are made and changed by
-- procrastinate's own statements when the queue is first opened (jobs/queue/postgres.py), because it is the installed
-- version of it that must find them as it expects; here is only where they are, and which of its changes were made.

-- migrate 1 --
CREATE SCHEMA medmirror_queue;
COMMENT ON SCHEMA medmirror_queue IS 'procrastinate''s tables: what wakes workers. What is to be done stands in medmirror.job.';
REVOKE ALL ON SCHEMA medmirror_queue FROM PUBLIC;
CREATE TABLE medmirror_queue.applied (
    name text PRIMARY KEY,
    version text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE medmirror_queue.applied IS 'Which of procrastinate''s own migrations its tables have, and by which version of it.';

-- applied --
SELECT name FROM medmirror_queue.applied

-- record --
INSERT INTO medmirror_queue.applied (name, version) SELECT unnest(CAST(%s AS text[])), %s

-- hurry --
-- The message that waits, brought forward; its worker is told as procrastinate's own trigger would.
WITH sooner AS (
    UPDATE medmirror_queue.procrastinate_jobs
    SET priority = greatest(priority, %(priority)s),
        scheduled_at = CASE WHEN %(delay)s > 0 THEN least(scheduled_at, now() + make_interval(secs => %(delay)s)) END
    WHERE queueing_lock = %(job)s AND status = 'todo'
    RETURNING id, scheduled_at
)
SELECT pg_notify('procrastinate_queue_v1#medmirror', json_build_object('type', 'job_inserted', 'job_id', id)::text)
FROM sooner WHERE scheduled_at IS NULL

-- stalled --
-- What a dead worker had taken. Whether there is anything left to do says the job's own row, so the message is dropped.
WITH gone AS (
    DELETE FROM medmirror_queue.procrastinate_workers WHERE last_heartbeat < now() - make_interval(secs => %s) RETURNING id
)
DELETE FROM medmirror_queue.procrastinate_jobs
WHERE status = 'doing' AND (worker_id IS NULL OR worker_id IN (SELECT id FROM gone)) OR status NOT IN ('todo', 'doing')

-- depth --
SELECT count(*) FROM medmirror_queue.procrastinate_jobs WHERE status = 'todo'
