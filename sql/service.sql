-- Who may ask the service for what, what was asked, and what it shows. Keys stand here as salted digests alone.

-- migrate 1 --
CREATE TABLE medmirror.api_key (
    key_id text PRIMARY KEY CHECK (key_id ~ '^[a-z2-7]{12}$'),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    salt bytea NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    scopes text[] NOT NULL CHECK (scopes <@ ARRAY['read', 'sync', 'admin', 'metrics'] AND cardinality(scopes) > 0),
    organizations text[],
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    replaces text REFERENCES medmirror.api_key
);
COMMENT ON TABLE medmirror.api_key IS 'Keys to the service; the key itself was shown once and stands nowhere.';
COMMENT ON COLUMN medmirror.api_key.digest IS 'SHA-256 of salt and secret; the secret is 256 random bits';
COMMENT ON COLUMN medmirror.api_key.organizations IS 'the organisations that it may see; NULL: every one';
COMMENT ON COLUMN medmirror.api_key.last_used_at IS 'to the minute';
COMMENT ON COLUMN medmirror.api_key.replaces IS 'the key that was rotated to this one; both hold until that one expires';
REVOKE ALL ON medmirror.api_key FROM PUBLIC;

CREATE TABLE medmirror.audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    request_id text NOT NULL,
    key_id text,
    address text NOT NULL,
    method text NOT NULL,
    route text,
    organization_id text,
    source text,
    status smallint NOT NULL,
    outcome text NOT NULL,
    milliseconds int NOT NULL
);
COMMENT ON TABLE medmirror.audit_log IS 'One row a request to the API, refused ones too. No bodies, no queries, no values.';
COMMENT ON COLUMN medmirror.audit_log.key_id IS 'the key that was given; NULL: none that is valid';
COMMENT ON COLUMN medmirror.audit_log.route IS 'the route as it is documented, not the path that was asked for; NULL: there is none';
COMMENT ON COLUMN medmirror.audit_log.outcome IS 'ok, or the kind of problem that was answered';
CREATE INDEX ON medmirror.audit_log (at);
CREATE INDEX ON medmirror.audit_log (audit_id) WHERE key_id IS NULL;
CREATE INDEX ON medmirror.audit_log (organization_id, at);
REVOKE ALL ON medmirror.audit_log FROM PUBLIC;

CREATE TABLE medmirror.webhook_event (
    organization_id text NOT NULL,
    source text NOT NULL,
    event bytea NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, source, event)
);
COMMENT ON TABLE medmirror.webhook_event IS 'Events that were taken, so that none is taken twice; kept while their signature would still be in time.';
COMMENT ON COLUMN medmirror.webhook_event.event IS 'SHA-256 of the sender''s id of the event';
CREATE INDEX ON medmirror.webhook_event (received_at);

-- key --
SELECT key_id, name, salt, digest, scopes, organizations, expires_at, revoked_at, last_used_at
FROM medmirror.api_key WHERE key_id = :key_id

-- keys --
SELECT key_id, name, scopes, organizations, created_at, expires_at, revoked_at, last_used_at, replaces
FROM medmirror.api_key ORDER BY created_at, key_id

-- add key --
INSERT INTO medmirror.api_key (key_id, name, salt, digest, scopes, organizations, created_at, expires_at, replaces)
VALUES (:key_id, :name, :salt, :digest, CAST(:scopes AS text[]), CAST(:organizations AS text[]), :now, :expires_at, :replaces)

-- expire key --
UPDATE medmirror.api_key SET expires_at = least(expires_at, CAST(:at AS timestamptz)) WHERE key_id = :key_id

-- revoke key --
UPDATE medmirror.api_key SET revoked_at = coalesce(revoked_at, CAST(:now AS timestamptz)) WHERE key_id = :key_id

-- touch key --
UPDATE medmirror.api_key SET last_used_at = greatest(last_used_at, CAST(:now AS timestamptz)) WHERE key_id = :key_id

-- write audit --
INSERT INTO medmirror.audit_log
  (at, request_id, key_id, address, method, route, organization_id, source, status, outcome, milliseconds)
VALUES (:at, :request_id, :key_id, :address, :method, :route, :organization_id, :source, :status, :outcome, :milliseconds)

-- sweep audit by age --
DELETE FROM medmirror.audit_log WHERE audit_id IN (
    SELECT audit_id FROM medmirror.audit_log WHERE at < :before ORDER BY at LIMIT :some)

-- sweep audit of strangers --
DELETE FROM medmirror.audit_log WHERE audit_id IN (
    SELECT audit_id FROM medmirror.audit_log WHERE key_id IS NULL AND audit_id <= (
        SELECT audit_id FROM medmirror.audit_log WHERE key_id IS NULL ORDER BY audit_id DESC OFFSET :kept LIMIT 1)
    ORDER BY audit_id LIMIT :some)

-- remember event --
INSERT INTO medmirror.webhook_event (organization_id, source, event, received_at)
VALUES (:organization_id, :source, :event, :now)
ON CONFLICT DO NOTHING

-- forget events --
DELETE FROM medmirror.webhook_event WHERE received_at < :before

-- event known --
SELECT EXISTS (SELECT FROM medmirror.webhook_event
    WHERE organization_id = :organization_id AND source = :source AND event = :event)

-- overview --
SELECT o.organization_id, o.source, o.remote, o.zone, o.tier, o.paused_at, o.paused_why,
       s.incremental_at, s.full_at, s.success_at, s.failed_at, coalesce(s.failures, 0) AS failures, s.recovered_at, s.error,
       j.job_id, j.state AS job_state, j.kind AS job_kind, j.mode, j.step, j.progress, j.started_at, j.next_at, j.attempts,
       coalesce(d.letters, 0) AS dead_letters
FROM medmirror.organization AS o
LEFT JOIN medmirror.sync_state AS s USING (organization_id, source)
LEFT JOIN LATERAL (
    SELECT job_id, state, kind, mode, step, progress, started_at, next_at, attempts
    FROM medmirror.job AS job
    WHERE job.organization_id = o.organization_id AND job.source = o.source
      AND job.state IN ('queued', 'in_progress', 'retrying')
    ORDER BY job.state = 'in_progress' DESC, job.priority DESC, job.created_at LIMIT 1) AS j ON true
LEFT JOIN (
    SELECT organization_id, source, count(*) AS letters
    FROM medmirror.dead_letter WHERE state = 'open' GROUP BY organization_id, source) AS d USING (organization_id, source)
WHERE (CAST(:everything AS boolean) OR o.organization_id = ANY (CAST(:organizations AS text[])))
  AND (CAST(:organization_id AS text) IS NULL OR o.organization_id = :organization_id)
  AND (CAST(:source AS text) IS NULL OR o.source = :source)
  AND (CAST(:after AS text) IS NULL OR (o.organization_id, o.source) > (CAST(:after AS text), CAST(:after_source AS text)))
ORDER BY o.organization_id, o.source
LIMIT :some

-- watermarks --
SELECT feed, kind, position, until, window_end, moved_at
FROM medmirror.watermark WHERE organization_id = :organization_id AND source = :source
ORDER BY feed, kind

-- jobs --
SELECT job_id, organization_id, source, kind, mode, force_full, trigger, state, step, progress, attempts, deferrals,
       created_at, next_at, started_at, heartbeat_at, finished_at, first_failed_at, run_id, counts, error, message, parent
FROM medmirror.job
WHERE (CAST(:everything AS boolean) OR organization_id = ANY (CAST(:organizations AS text[])))
  AND (CAST(:job_id AS uuid) IS NULL OR job_id = :job_id)
  AND (CAST(:organization_id AS text) IS NULL OR organization_id = :organization_id)
  AND (CAST(:source AS text) IS NULL OR source = :source)
  AND (CAST(:state AS text) IS NULL OR state = :state)
  AND (CAST(:before AS timestamptz) IS NULL OR (created_at, job_id) < (CAST(:before AS timestamptz), CAST(:before_id AS uuid)))
ORDER BY created_at DESC, job_id DESC
LIMIT :some

-- log --
SELECT at, level, message FROM medmirror.job_log WHERE job_id = :job_id ORDER BY at, ctid LIMIT :some

-- runs --
SELECT r.run_id, r.command, r.source, r.started_at, r.finished_at, r.status, r.seconds, r.counts, j.organization_id, j.job_id
FROM medmirror.run AS r
LEFT JOIN LATERAL (
    SELECT organization_id, job_id FROM medmirror.job AS job WHERE job.run_id = r.run_id
    ORDER BY job.created_at DESC LIMIT 1) AS j ON true
WHERE (CAST(:everything AS boolean) OR j.organization_id = ANY (CAST(:organizations AS text[])))
  AND (CAST(:run_id AS bigint) IS NULL OR r.run_id = :run_id)
  AND (CAST(:organization_id AS text) IS NULL OR j.organization_id = :organization_id)
  AND (CAST(:before AS bigint) IS NULL OR r.run_id < :before)
ORDER BY r.run_id DESC
LIMIT :some

-- dead letters --
SELECT dead_letter_id, job_id, organization_id, source, feed, scope, class, error, message, fingerprint, attempts,
       first_failed_at, died_at, contact_due, contacted_at, reject_id, state, requeued_as, parent, incident
FROM medmirror.dead_letter
WHERE (CAST(:everything AS boolean) OR organization_id = ANY (CAST(:organizations AS text[])))
  AND (CAST(:dead_letter_id AS bigint) IS NULL OR dead_letter_id = :dead_letter_id)
  AND (CAST(:organization_id AS text) IS NULL OR organization_id = :organization_id)
  AND (CAST(:source AS text) IS NULL OR source = :source)
  AND (CAST(:state AS text) IS NULL OR state = :state)
  AND (CAST(:before AS bigint) IS NULL OR dead_letter_id < :before)
ORDER BY dead_letter_id DESC
LIMIT :some

-- letter groups --
SELECT fingerprint, min(class) AS class, min(error) AS error, min(source) AS source, min(feed) AS feed, min(scope) AS scope,
       count(*) AS letters, count(DISTINCT organization_id) AS organizations, min(first_failed_at) AS first_failed_at,
       min(contact_due) FILTER (WHERE contacted_at IS NULL) AS contact_due
FROM medmirror.dead_letter
WHERE state = 'open'
  AND (CAST(:everything AS boolean) OR organization_id = ANY (CAST(:organizations AS text[])))
  AND (CAST(:organization_id AS text) IS NULL OR organization_id = :organization_id)
GROUP BY fingerprint
ORDER BY letters DESC, fingerprint
LIMIT :some

-- daily --
SELECT CAST(date_trunc('day', finished_at AT TIME ZONE 'UTC') AS date) AS day, count(*) AS runs,
       count(*) FILTER (WHERE state = 'dead') AS failed,
       CAST(coalesce(sum(CASE WHEN jsonb_typeof(counts -> 'read') = 'number' THEN CAST(counts ->> 'read' AS numeric) END), 0)
            AS bigint) AS records
FROM medmirror.job
WHERE finished_at >= :since AND state IN ('succeeded', 'dead')
  AND (CAST(:everything AS boolean) OR organization_id = ANY (CAST(:organizations AS text[])))
  AND (CAST(:organization_id AS text) IS NULL OR organization_id = :organization_id)
GROUP BY 1 ORDER BY 1

-- job states --
SELECT state, count(*) AS jobs
FROM medmirror.job
WHERE (CAST(:everything AS boolean) OR organization_id = ANY (CAST(:organizations AS text[])))
GROUP BY state

-- machinery --
SELECT (SELECT count(*) FROM medmirror.worker WHERE seen_at > clock_timestamp() - interval '60 seconds') AS workers,
       (SELECT max(ticked_at) FROM medmirror.scheduler) AS ticked_at

-- set how often --
-- Nothing else: where a system is and its secret may have been changed since this request read them.
UPDATE medmirror.organization
SET zone = :zone, tier = :tier, window_back = :window_back, window_ahead = :window_ahead, windows = CAST(:windows AS jsonb)
WHERE organization_id = :organization_id AND source = :source
