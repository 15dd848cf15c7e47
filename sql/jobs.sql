-- What is to be done, is being done and was done: jobs, what they said, and those that were given up. The queue (sql/queue.sql,
-- or SQS) carries a job's number and nothing else.

-- migrate 1 --
CREATE TABLE medmirror.job (
    job_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id text NOT NULL,
    source text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('sync', 'backfill')),
    mode text NOT NULL DEFAULT 'incremental',
    force_full boolean NOT NULL DEFAULT false,
    trigger text NOT NULL CHECK (trigger IN ('command', 'api', 'webhook', 'schedule', 'requeue')),
    priority int NOT NULL DEFAULT 0,
    args jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'in_progress', 'retrying', 'succeeded', 'skipped', 'dead', 'cancelled')),
    step text,
    progress jsonb NOT NULL DEFAULT '{}',
    attempts int NOT NULL DEFAULT 0,
    deferrals int NOT NULL DEFAULT 0,
    claims int NOT NULL DEFAULT 0,
    idempotency_key text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    put_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    heartbeat_at timestamptz,
    finished_at timestamptz,
    first_failed_at timestamptz,
    worker text,
    run_id bigint,
    counts jsonb,
    error text,
    message text,
    parent uuid
);
COMMENT ON TABLE medmirror.job IS 'One row a job of an organisation: asked for by whom, how far it is, how it ended.';
COMMENT ON COLUMN medmirror.job.mode IS 'incremental, comprehensive, or the deprecated basic and patients-only';
COMMENT ON COLUMN medmirror.job.priority IS 'higher goes first: 10 a person waits, 5 a webhook, 0 the schedule, -10 a backfill';
COMMENT ON COLUMN medmirror.job.step IS 'the step of the algorithm that it is at, or ended at';
COMMENT ON COLUMN medmirror.job.attempts IS 'tries that counted: those that failed, and those whose worker died';
COMMENT ON COLUMN medmirror.job.deferrals IS 'times that it was put off without fault: rate limits, another sync, a remote that prepares';
COMMENT ON COLUMN medmirror.job.claims IS 'times that a worker took it; the last one''s number is what lets it write';
COMMENT ON COLUMN medmirror.job.next_at IS 'not before; by the clock of who asked';
COMMENT ON COLUMN medmirror.job.put_at IS 'when the queue was last told of it, by the database''s clock';
COMMENT ON COLUMN medmirror.job.heartbeat_at IS 'when its worker last gave a sign of life, by the database''s clock';
COMMENT ON COLUMN medmirror.job.first_failed_at IS 'when it first failed: the 24 hours in which the clinic is told begin here';
COMMENT ON COLUMN medmirror.job.error IS 'class of the last error';
COMMENT ON COLUMN medmirror.job.message IS 'the last error in our own words; never a value of a record';
COMMENT ON COLUMN medmirror.job.parent IS 'the job that this one does again';
CREATE INDEX job_open ON medmirror.job (organization_id, source) WHERE state IN ('queued', 'in_progress', 'retrying');
CREATE INDEX job_recent ON medmirror.job (organization_id, source, created_at DESC);

CREATE TABLE medmirror.job_key (
    organization_id text NOT NULL,
    source text NOT NULL,
    idempotency_key text NOT NULL,
    job_id uuid NOT NULL REFERENCES medmirror.job ON DELETE CASCADE,
    PRIMARY KEY (organization_id, source, idempotency_key)
);
COMMENT ON TABLE medmirror.job_key IS
    'Which job an idempotency key stands for: the one it made, or the one that it was added to.';
CREATE INDEX ON medmirror.job_key (job_id);

CREATE TABLE medmirror.worker (
    name text PRIMARY KEY,
    concurrency int NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE medmirror.worker IS 'Worker processes that run, whatever queue they work; a row without a sign of life is of a dead one.';

CREATE TABLE medmirror.job_log (
    job_id uuid NOT NULL REFERENCES medmirror.job ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    level text NOT NULL DEFAULT 'info',
    message text NOT NULL
);
COMMENT ON TABLE medmirror.job_log IS 'What a job said on its way; never a value of a record.';
CREATE INDEX ON medmirror.job_log (job_id, at);

CREATE TABLE medmirror.dead_letter (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES medmirror.job,
    organization_id text NOT NULL,
    source text NOT NULL,
    feed text,
    scope text NOT NULL CHECK (scope IN ('job', 'record')),
    class smallint NOT NULL CHECK (class IN (1, 2, 3)),
    error text NOT NULL,
    message text NOT NULL,
    fingerprint text NOT NULL,
    attempts int NOT NULL,
    first_failed_at timestamptz NOT NULL,
    died_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    contact_due timestamptz NOT NULL,
    contacted_at timestamptz,
    reject_id bigint,
    payload bytea,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'requeued', 'resolved', 'ignored')),
    record bytea,
    requeued_as uuid,
    parent bigint REFERENCES medmirror.dead_letter,
    incident text,
    note text
);
COMMENT ON TABLE medmirror.dead_letter IS 'What was given up: jobs after their last try, and single records that a job went on without.';
COMMENT ON COLUMN medmirror.dead_letter.class IS '1 the other side failed (5xx), 2 the data is bad (400, a record), 3 the account (401)';
COMMENT ON COLUMN medmirror.dead_letter.fingerprint IS 'the same for letters of the same cause: error, status, source, feed';
COMMENT ON COLUMN medmirror.dead_letter.contact_due IS 'the clinic is told within 24 hours of the FIRST failure';
COMMENT ON COLUMN medmirror.dead_letter.reject_id IS 'where the record''s bytes are: medmirror.reject';
COMMENT ON COLUMN medmirror.dead_letter.payload IS 'encrypted with MEDMIRROR_PAYLOAD_KEY; NULL: by reference alone';
COMMENT ON COLUMN medmirror.dead_letter.record IS 'digest of the record''s key: a record that fails in every sync is one letter';
COMMENT ON COLUMN medmirror.dead_letter.requeued_as IS 'the job that was to do it again';
COMMENT ON COLUMN medmirror.dead_letter.incident IS 'the ticket or status page where it is followed up';
COMMENT ON COLUMN medmirror.dead_letter.parent IS 'the letter whose requeued job died again as this one';
CREATE INDEX ON medmirror.dead_letter (state, fingerprint);
CREATE INDEX ON medmirror.dead_letter (job_id);
CREATE INDEX ON medmirror.dead_letter (parent) WHERE parent IS NOT NULL;
CREATE INDEX ON medmirror.dead_letter (requeued_as) WHERE requeued_as IS NOT NULL;
REVOKE ALL ON medmirror.dead_letter FROM PUBLIC;

-- lock organization --
SELECT o.paused_at, o.paused_why, s.success_at
FROM medmirror.organization AS o LEFT JOIN medmirror.sync_state AS s USING (organization_id, source)
WHERE o.organization_id = :organization_id AND o.source = :source
FOR NO KEY UPDATE OF o

-- job of key --
SELECT j.* FROM medmirror.job_key AS k JOIN medmirror.job AS j USING (job_id)
WHERE k.organization_id = :organization_id AND k.source = :source AND k.idempotency_key = :idempotency_key

-- keep key --
INSERT INTO medmirror.job_key (organization_id, source, idempotency_key, job_id)
VALUES (:organization_id, :source, :idempotency_key, :job_id)

-- lock open jobs --
SELECT * FROM medmirror.job
WHERE organization_id = :organization_id AND source = :source AND kind = :kind
  AND state IN ('queued', 'in_progress', 'retrying')
ORDER BY created_at
FOR UPDATE

-- insert job --
INSERT INTO medmirror.job
  (organization_id, source, kind, mode, force_full, trigger, priority, args, state, idempotency_key, created_at, next_at,
   finished_at, message, parent)
VALUES (:organization_id, :source, :kind, :mode, :force_full, :trigger, :priority, CAST(:args AS jsonb), CAST(:state AS text),
        :idempotency_key, :now, :next_at, CASE WHEN CAST(:state AS text) = 'skipped' THEN CAST(:now AS timestamptz) END, :message,
        :parent)
RETURNING *

-- coalesce --
UPDATE medmirror.job
SET priority = :priority, force_full = :force_full, mode = :mode, args = CAST(:args AS jsonb), next_at = :next_at
WHERE job_id = :job_id
RETURNING *

-- job --
SELECT * FROM medmirror.job WHERE job_id = :job_id

-- log of --
SELECT at, level, message FROM medmirror.job_log WHERE job_id = :job_id ORDER BY at, ctid LIMIT :limit

-- log --
INSERT INTO medmirror.job_log (job_id, at, level, message)
SELECT :job_id, l.at, l.level, l.message
FROM unnest(CAST(:at AS timestamptz[]), CAST(:level AS text[]), CAST(:message AS text[])) AS l(at, level, message)

-- claim --
-- A job whose worker gave no sign of life was being tried: that counts, or what kills workers would be tried for ever.
WITH was AS (
    SELECT job_id, state = 'in_progress' AS lost FROM medmirror.job
    WHERE job_id = :job_id
      AND (state IN ('queued', 'retrying') AND next_at <= CAST(:now AS timestamptz) + interval '1 second'
           OR state = 'in_progress' AND heartbeat_at < clock_timestamp() - make_interval(secs => :lease))
    FOR UPDATE
)
UPDATE medmirror.job AS j
SET state = 'in_progress', claims = j.claims + 1, worker = :worker, heartbeat_at = clock_timestamp(),
    started_at = coalesce(j.started_at, :now), finished_at = NULL, attempts = j.attempts + CAST(was.lost AS int),
    first_failed_at = CASE WHEN was.lost THEN coalesce(j.first_failed_at, :now) ELSE j.first_failed_at END
FROM was WHERE j.job_id = was.job_id
RETURNING j.*, was.lost

-- beat --
UPDATE medmirror.job
SET heartbeat_at = clock_timestamp(), step = coalesce(:step, step),
    progress = coalesce(CAST(:progress AS jsonb), progress), run_id = coalesce(:run_id, run_id)
WHERE job_id = :job_id AND claims = :claims AND state = 'in_progress'

-- succeed --
WITH done AS (
    UPDATE medmirror.job
    SET state = 'succeeded', finished_at = :now, heartbeat_at = clock_timestamp(), counts = CAST(:counts AS jsonb),
        step = coalesce(:step, step), progress = coalesce(CAST(:progress AS jsonb), progress),
        run_id = coalesce(:run_id, run_id), error = NULL, message = NULL
    WHERE job_id = :job_id AND claims = :claims AND state = 'in_progress'
    RETURNING job_id
), resolved AS (
    UPDATE medmirror.dead_letter AS d SET state = 'resolved'
    FROM done WHERE d.requeued_as = done.job_id AND d.state = 'requeued'
      AND NOT EXISTS (SELECT FROM medmirror.dead_letter AS again WHERE again.parent = d.dead_letter_id)
)
SELECT count(*) FROM done

-- put off --
UPDATE medmirror.job
SET state = CASE WHEN attempts + :failed > 0 THEN 'retrying' ELSE 'queued' END, attempts = attempts + :failed,
    deferrals = deferrals + :deferred, next_at = :next_at, put_at = clock_timestamp(), worker = NULL,
    first_failed_at = CASE WHEN :failed > 0 THEN coalesce(first_failed_at, :now) ELSE first_failed_at END,
    error = :error, message = :message, step = coalesce(:step, step),
    progress = coalesce(CAST(:progress AS jsonb), progress), run_id = coalesce(:run_id, run_id)
WHERE job_id = :job_id AND claims = :claims AND state = 'in_progress'
RETURNING job_id

-- die --
UPDATE medmirror.job
SET state = 'dead', attempts = attempts + :failed, finished_at = :now, first_failed_at = coalesce(first_failed_at, :now),
    error = :error, message = :message, step = coalesce(:step, step),
    progress = coalesce(CAST(:progress AS jsonb), progress), run_id = coalesce(:run_id, run_id)
WHERE job_id = :job_id AND claims = :claims AND state = 'in_progress'
RETURNING *

-- sweep --
-- put_at is moved here, so that of many who sweep at once only one tells the queue.
UPDATE medmirror.job SET put_at = clock_timestamp()
WHERE job_id IN (
    SELECT job_id FROM medmirror.job
    WHERE state = 'in_progress' AND greatest(heartbeat_at, put_at) < clock_timestamp() - make_interval(secs => :lease)
       OR state IN ('queued', 'retrying') AND put_at < clock_timestamp() - make_interval(secs => :lost)
          AND next_at < CAST(:now AS timestamptz) - make_interval(secs => :lost)
    FOR UPDATE SKIP LOCKED
)
RETURNING job_id, priority

-- next due --
SELECT job_id FROM medmirror.job
WHERE state IN ('queued', 'retrying') AND next_at <= :now
   OR state = 'in_progress' AND heartbeat_at < clock_timestamp() - make_interval(secs => :lease)
ORDER BY priority DESC, next_at LIMIT 1

-- early --
-- Not at once after the last time: one who stays with a job asks for it again and again.
UPDATE medmirror.job SET put_at = clock_timestamp()
WHERE job_id = :job_id AND state IN ('queued', 'retrying') AND next_at > :now
  AND put_at < clock_timestamp() - interval '5 seconds'
RETURNING *

-- worker lives --
INSERT INTO medmirror.worker (name, concurrency) VALUES (:name, :concurrency)
ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), concurrency = excluded.concurrency

-- worker ends --
DELETE FROM medmirror.worker WHERE name = :name OR seen_at < clock_timestamp() - interval '1 day'

-- forget --
-- What ended well, after so many days; what was given up stays with its letters.
DELETE FROM medmirror.job
WHERE job_id IN (
    SELECT j.job_id FROM medmirror.job AS j
    WHERE j.state IN ('succeeded', 'skipped', 'cancelled') AND j.finished_at < CAST(:now AS timestamptz) - make_interval(days => :days)
      AND NOT EXISTS (SELECT FROM medmirror.dead_letter AS d WHERE d.job_id = j.job_id)
    LIMIT 1000
)
