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
    idempotency_key text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
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
COMMENT ON COLUMN medmirror.job.first_failed_at IS 'when it first failed: the 24 hours in which the clinic is told begin here';
COMMENT ON COLUMN medmirror.job.error IS 'class of the last error';
COMMENT ON COLUMN medmirror.job.message IS 'the last error in our own words; never a value of a record';
COMMENT ON COLUMN medmirror.job.parent IS 'the job that this one does again';
CREATE UNIQUE INDEX job_idempotency ON medmirror.job (organization_id, source, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX job_open ON medmirror.job (organization_id, source) WHERE state IN ('queued', 'in_progress', 'retrying');
CREATE INDEX job_recent ON medmirror.job (organization_id, source, created_at DESC);

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
COMMENT ON COLUMN medmirror.dead_letter.parent IS 'the letter whose requeued job died again as this one';
CREATE INDEX ON medmirror.dead_letter (state, fingerprint);
REVOKE ALL ON medmirror.dead_letter FROM PUBLIC;
