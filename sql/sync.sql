-- Who is kept in step with which remote, how far it has been read, and how that went. None of it is patient data: the
-- tables belong to the owner alone, and no organisation's role sees them.

-- migrate 1 --
CREATE TABLE medmirror.organization (
    organization_id text NOT NULL CHECK (organization_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$'),
    source text NOT NULL,
    number int GENERATED ALWAYS AS IDENTITY UNIQUE,
    remote text NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}',
    secret text CHECK (secret ~ '^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$'),
    zone text NOT NULL DEFAULT 'UTC',
    tier text NOT NULL DEFAULT 'standard',
    windows jsonb,
    window_back int NOT NULL DEFAULT 7 CHECK (window_back BETWEEN 0 AND 3650),
    window_ahead int NOT NULL DEFAULT 30 CHECK (window_ahead BETWEEN 0 AND 3650),
    recent_first boolean NOT NULL DEFAULT false,
    destination jsonb,
    mappings text[] NOT NULL DEFAULT '{}',
    webhook_secret text CHECK (webhook_secret ~ '^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$'),
    paused_at timestamptz,
    paused_why text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, source)
);
COMMENT ON TABLE medmirror.organization IS 'One row a practice system that is kept in step: whose, where, how often.';
COMMENT ON COLUMN medmirror.organization.source IS 'the source that reads its pages: cliniko, fhir, sql, csv';
COMMENT ON COLUMN medmirror.organization.number IS 'the second half of the advisory lock that keeps a second sync out';
COMMENT ON COLUMN medmirror.organization.remote IS 'the kind of remote: cliniko, fhir, bulk, sql, folder';
COMMENT ON COLUMN medmirror.organization.settings IS 'where the remote is; never a secret';
COMMENT ON COLUMN medmirror.organization.secret IS 'where its key is found: env:NAME or file:/path; never the key';
COMMENT ON COLUMN medmirror.organization.zone IS 'IANA time zone of its days and business hours';
COMMENT ON COLUMN medmirror.organization.tier IS 'how often it is looked at: realtime, standard or economy';
COMMENT ON COLUMN medmirror.organization.windows IS 'rate budget: [[requests, seconds], ...]; NULL: the remote''s own';
COMMENT ON COLUMN medmirror.organization.recent_first IS
    'its first sync reads of appointments only the window; their history is left to `medmirror backfill`';
COMMENT ON COLUMN medmirror.organization.destination IS 'a second system that its records are written to; NULL: none';

CREATE TABLE medmirror.sync_state (
    organization_id text NOT NULL,
    source text NOT NULL,
    incremental_at timestamptz,
    full_at timestamptz,
    success_at timestamptz,
    failed_at timestamptz,
    failures int NOT NULL DEFAULT 0,
    recovered_at timestamptz,
    error text,
    patients bigint,
    PRIMARY KEY (organization_id, source),
    FOREIGN KEY (organization_id, source) REFERENCES medmirror.organization ON DELETE CASCADE
);
COMMENT ON TABLE medmirror.sync_state IS 'How the last syncs of an organisation went; written with their last watermark.';
COMMENT ON COLUMN medmirror.sync_state.incremental_at IS 'upper bound (the remote''s clock) of the last sync that succeeded';
COMMENT ON COLUMN medmirror.sync_state.full_at IS 'upper bound of the last full sync that succeeded';
COMMENT ON COLUMN medmirror.sync_state.success_at IS 'when the last sync succeeded, by our clock';
COMMENT ON COLUMN medmirror.sync_state.failures IS 'failures since the last success';
COMMENT ON COLUMN medmirror.sync_state.recovered_at IS 'when a sync first succeeded after failures';
COMMENT ON COLUMN medmirror.sync_state.patients IS 'how many patients the last full sync saw, for the log line of later ones';

CREATE TABLE medmirror.watermark (
    organization_id text NOT NULL,
    source text NOT NULL,
    feed text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('changed', 'deleted', 'window', 'full', 'backfill')),
    position bigint NOT NULL DEFAULT 0,
    last_id text NOT NULL DEFAULT '',
    until bigint,
    lateness jsonb NOT NULL DEFAULT '[]',
    window_end timestamptz,
    held bigint,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id bigint,
    PRIMARY KEY (organization_id, source, feed, kind)
);
COMMENT ON TABLE medmirror.watermark IS
    'How far a list has been read. Moved in the transaction that stores what was read, or after a list read to its end.';
COMMENT ON COLUMN medmirror.watermark.position IS 'time of change, in microseconds since 1970 by the remote''s clock';
COMMENT ON COLUMN medmirror.watermark.last_id IS 'the last id read of that time; empty: nothing is said of the records of that very time';
COMMENT ON COLUMN medmirror.watermark.until IS 'the upper bound of a list that is half read; NULL: it was read to its end';
COMMENT ON COLUMN medmirror.watermark.lateness IS 'records that came late: [[seen at, microseconds late], ...], 30 days of them';
COMMENT ON COLUMN medmirror.watermark.window_end IS 'how far ahead the window has been filled';
COMMENT ON COLUMN medmirror.watermark.held IS 'how many records the list held when it was last read from its beginning';

CREATE TABLE medmirror.sync_note (
    organization_id text NOT NULL,
    source text NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, source, name)
);
COMMENT ON TABLE medmirror.sync_note IS 'What a remote keeps between runs: polling addresses, ETags. Never a secret.';

-- migrate 2 --
ALTER TABLE medmirror.file ADD COLUMN frame int8multirange;
COMMENT ON COLUMN medmirror.file.frame IS
    'bytes of a remote''s page that are none of its records; NULL: not a page, or one that an earlier version stored';

-- migrate 3 --
ALTER TABLE medmirror.file ADD COLUMN beneath text;
COMMENT ON COLUMN medmirror.file.beneath IS
    'the folder that it was found in, below which no link is followed; empty: it was named itself; NULL: not known';

-- organizations --
SELECT organization_id, source, remote, number, settings, secret, zone, tier, windows, window_back, window_ahead,
       recent_first, destination, mappings, webhook_secret, paused_at, paused_why
FROM medmirror.organization
WHERE (CAST(:organization_id AS text) IS NULL OR organization_id = :organization_id)
  AND (CAST(:source AS text) IS NULL OR source = :source)
ORDER BY organization_id, source

-- put organization --
INSERT INTO medmirror.organization AS o
  (organization_id, source, remote, settings, secret, zone, tier, windows, window_back, window_ahead, recent_first,
   destination, mappings, webhook_secret)
VALUES (:organization_id, :source, :remote, CAST(:settings AS jsonb), :secret, :zone, :tier, CAST(:windows AS jsonb),
        :window_back, :window_ahead, :recent_first, CAST(:destination AS jsonb), CAST(:mappings AS text[]), :webhook_secret)
ON CONFLICT (organization_id, source) DO UPDATE
SET remote = excluded.remote, settings = excluded.settings, secret = excluded.secret, zone = excluded.zone,
    tier = excluded.tier, windows = excluded.windows, window_back = excluded.window_back,
    window_ahead = excluded.window_ahead, recent_first = excluded.recent_first,
    destination = excluded.destination, mappings = excluded.mappings, webhook_secret = excluded.webhook_secret

-- pause organization --
UPDATE medmirror.organization
SET paused_at = CASE WHEN CAST(:why AS text) IS NULL THEN NULL ELSE clock_timestamp() END, paused_why = :why
WHERE organization_id = :organization_id AND source = :source

-- hurry --
-- What was put off because its organisation was paused; `runner.sweep` tells the queue.
UPDATE medmirror.job SET next_at = least(next_at, clock_timestamp())
WHERE organization_id = :organization_id AND source = :source AND state IN ('queued', 'retrying') AND error = 'SyncPaused'

-- watermarks --
SELECT feed, kind, position, last_id, until, lateness, window_end, held
FROM medmirror.watermark
WHERE organization_id = :organization_id AND source = :source

-- move watermark --
INSERT INTO medmirror.watermark AS w
  (organization_id, source, feed, kind, position, last_id, until, lateness, window_end, held, run_id)
VALUES (:organization_id, :source, :feed, :kind, :position, :last_id, :until, CAST(:lateness AS jsonb), :window_end, :held,
        :run_id)
ON CONFLICT (organization_id, source, feed, kind) DO UPDATE
SET position = excluded.position, last_id = excluded.last_id, until = excluded.until, lateness = excluded.lateness,
    window_end = excluded.window_end, held = excluded.held, run_id = excluded.run_id, moved_at = clock_timestamp()

-- reset watermarks --
DELETE FROM medmirror.watermark WHERE organization_id = :organization_id AND source = :source

-- forget place --
-- What a remote noted of the system that it is no more; what it noted of single writes keeps them from being made twice.
DELETE FROM medmirror.sync_note
WHERE organization_id = :organization_id AND source = :source AND name NOT LIKE 'pushed:%'

-- earliest --
SELECT min(m.version)
FROM medmirror.sync_mapping AS m
WHERE m.organization_id = :organization_id AND m.source = :source AND m.feed = :feed AND m.run_id = :run_id
  AND m.version >= :since AND m.version < :before

-- frame pages --
UPDATE medmirror.file AS f
SET frame = CAST(n.frame AS int8multirange)
FROM unnest(CAST(:file_ids AS int8[]), CAST(:frames AS text[])) AS n(file_id, frame)
WHERE f.file_id = n.file_id

-- rejects of files --
SELECT reject_id, feed, error, reason, first_failed_at, attempts
FROM medmirror.reject
WHERE run_id = :run_id AND file_id = ANY(CAST(:file_ids AS int8[])) AND resolved_at IS NULL

-- rejects without letter --
-- A file that was loaded before is given again, and what is the matter with it was told.
SELECT r.reject_id, r.feed, r.error, r.reason
FROM medmirror.reject AS r
WHERE r.file_id = ANY(CAST(:file_ids AS int8[])) AND r.resolved_at IS NULL
  AND NOT EXISTS (SELECT FROM medmirror.dead_letter AS d WHERE d.reject_id = r.reject_id)
ORDER BY r.reject_id

-- note success --
INSERT INTO medmirror.sync_state AS s
  (organization_id, source, incremental_at, full_at, success_at, patients)
VALUES (:organization_id, :source, CAST(:until AS timestamptz), CASE WHEN CAST(:full AS boolean) THEN CAST(:until AS timestamptz) END, :now, :patients)
ON CONFLICT (organization_id, source) DO UPDATE
SET incremental_at = greatest(s.incremental_at, excluded.incremental_at),
    full_at = greatest(s.full_at, excluded.full_at), success_at = excluded.success_at,
    recovered_at = CASE WHEN s.failures > 0 THEN excluded.success_at ELSE s.recovered_at END,
    failures = 0, error = NULL, patients = coalesce(excluded.patients, s.patients)

-- note failure --
INSERT INTO medmirror.sync_state AS s (organization_id, source, failed_at, failures, error)
VALUES (:organization_id, :source, :now, 1, :error)
ON CONFLICT (organization_id, source) DO UPDATE
SET failed_at = excluded.failed_at, failures = s.failures + 1, error = excluded.error

-- state --
SELECT incremental_at, full_at, success_at, failed_at, failures, recovered_at, error, patients
FROM medmirror.sync_state
WHERE organization_id = :organization_id AND source = :source

-- count living --
SELECT count(*) FROM medmirror.sync_mapping
WHERE organization_id = :organization_id AND source = :source AND entity = :entity AND state IN ('active', 'archived')
