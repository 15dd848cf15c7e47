-- What an organisation's records and their copies in a second practice system last agreed on, and what waits for a person.
-- Written by sync/destination/bases.py and sync/destination/review.py alone.

-- migrate 1 --
CREATE TABLE medmirror.sync_destination (
    organization_id text NOT NULL,
    source text NOT NULL,
    destination text NOT NULL,
    pushed_run bigint NOT NULL DEFAULT 0,
    listed jsonb NOT NULL DEFAULT '{}',
    settings_digest bytea,
    pushed_at timestamptz,
    PRIMARY KEY (organization_id, source, destination)
);
COMMENT ON TABLE medmirror.sync_destination IS 'How far an organisation''s records have been brought to its second system.';
COMMENT ON COLUMN medmirror.sync_destination.pushed_run IS
    'what runs up to this one wrote has been looked at; moved only after all of it has, and never past a run under way';
COMMENT ON COLUMN medmirror.sync_destination.listed IS
    'up to when (microseconds since 1970, the destination''s clock) each of its lists was read: {feed: time}';
COMMENT ON COLUMN medmirror.sync_destination.settings_digest IS
    'of entities and mappings: when these change, everything is looked at again';
SELECT medmirror.wall_off('medmirror.sync_destination');

CREATE TABLE medmirror.sync_base (
    organization_id text NOT NULL,
    source text NOT NULL,
    destination text NOT NULL,
    feed text NOT NULL,
    source_id text NOT NULL,
    entity text NOT NULL,
    remote_feed text,
    remote_id text,
    remote_version text,
    remote_hash bytea,
    local_version bigint,
    local_hash bytea,
    local_record jsonb,
    remote_record jsonb,
    round int NOT NULL DEFAULT 0,
    idempotency_key text,
    agreed_at timestamptz,
    outcome text NOT NULL CHECK (outcome IN
        ('agreed', 'kept', 'ignored', 'review', 'refused', 'waiting', 'parted')),
    seen_hash bytea,
    seen_state text,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id bigint,
    PRIMARY KEY (organization_id, source, destination, feed, source_id)
);
COMMENT ON TABLE medmirror.sync_base IS
    'One row a record that was looked at for a second system: its copy there, what both sides last agreed on, and what came of it.';
COMMENT ON COLUMN medmirror.sync_base.remote_id IS 'the copy''s id there; NULL: it has none';
COMMENT ON COLUMN medmirror.sync_base.remote_version IS 'the copy''s version when both agreed, as its system writes it';
COMMENT ON COLUMN medmirror.sync_base.remote_hash IS 'of the copy when both agreed; NULL: it was agreed that there is none';
COMMENT ON COLUMN medmirror.sync_base.local_hash IS
    'of our record, in the destination''s words, when both agreed; NULL: it was agreed that it is gone';
COMMENT ON COLUMN medmirror.sync_base.local_record IS 'our record, in the destination''s words, when both agreed';
COMMENT ON COLUMN medmirror.sync_base.remote_record IS 'what of it stood there then; NULL: the same';
COMMENT ON COLUMN medmirror.sync_base.round IS 'how often a base was written: part of the idempotency key of the next write';
COMMENT ON COLUMN medmirror.sync_base.outcome IS
    'agreed; kept: they changed theirs and it stays; ignored: they come first; review: a person says; refused: a dead letter;'
    ' waiting: looked at again in every sync; parted: it was agreed that there is no copy';
COMMENT ON COLUMN medmirror.sync_base.seen_hash IS 'canonical_hash of our record when it was last looked at';
COMMENT ON COLUMN medmirror.sync_base.seen_state IS 'and its state in sync_mapping';
CREATE UNIQUE INDEX sync_base_remote ON medmirror.sync_base (organization_id, source, destination, remote_feed, remote_id)
    WHERE remote_id IS NOT NULL;
CREATE INDEX sync_base_waiting ON medmirror.sync_base (organization_id, source, destination) WHERE outcome = 'waiting';
SELECT medmirror.wall_off('medmirror.sync_base');

CREATE TABLE medmirror.sync_unpaired (
    organization_id text NOT NULL,
    source text NOT NULL,
    destination text NOT NULL,
    remote_feed text NOT NULL,
    remote_id text NOT NULL,
    likeness bytea,
    starts bigint,
    ends bigint,
    patient text,
    practitioner text,
    PRIMARY KEY (organization_id, source, destination, remote_feed, remote_id)
);
COMMENT ON TABLE medmirror.sync_unpaired IS
    'Records of the second system that are nobody''s copy: a record of ours that looks like one is not made there again.';
COMMENT ON COLUMN medmirror.sync_unpaired.likeness IS 'digest of what tells who or what it is (sync/destination/projecting.py)';
COMMENT ON COLUMN medmirror.sync_unpaired.starts IS
    'of what takes time, where the second system cannot list by it: microseconds since 1970';
COMMENT ON COLUMN medmirror.sync_unpaired.patient IS 'whose time it takes: the patient''s id there';
CREATE INDEX sync_unpaired_starts ON medmirror.sync_unpaired (organization_id, source, destination, remote_feed, starts);
CREATE INDEX sync_unpaired_likeness ON medmirror.sync_unpaired (organization_id, source, destination, remote_feed, likeness);
SELECT medmirror.wall_off('medmirror.sync_unpaired');

CREATE TABLE medmirror.sync_review (
    review_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id text NOT NULL,
    source text NOT NULL,
    destination text NOT NULL,
    entity text NOT NULL,
    feed text NOT NULL,
    source_id text NOT NULL,
    remote_feed text,
    remote_id text,
    kind text NOT NULL CHECK (kind IN ('edited', 'met', 'deleted there', 'overlap', 'clash', 'same person', 'not tellable')),
    why text NOT NULL,
    local_hash bytea,
    remote_hash bytea,
    remote_record jsonb,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'decided', 'done', 'superseded')),
    decision text CHECK (decision IN ('source', 'destination', 'apart')),
    decided_by text,
    decided_at timestamptz,
    reason text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    run_id bigint
);
COMMENT ON TABLE medmirror.sync_review IS 'Conflicts that a person settles; a word once given holds for what that person saw.';
COMMENT ON COLUMN medmirror.sync_review.remote_record IS 'the other side''s record, to be looked at; taken out when it is closed';
CREATE UNIQUE INDEX sync_review_open ON medmirror.sync_review
    (organization_id, source, destination, feed, source_id, coalesce(remote_feed, ''), coalesce(remote_id, ''))
    WHERE state IN ('open', 'decided');
SELECT medmirror.wall_off('medmirror.sync_review');

-- destination --
SELECT pushed_run, listed, settings_digest
FROM medmirror.sync_destination
WHERE organization_id = :organization_id AND source = :source AND destination = :destination

-- safe run --
-- The last run before every one that is still under way, but for our own: what those write may be committed later.
SELECT least(:run_id, (SELECT min(run_id) - 1 FROM medmirror.run
                       WHERE status = 'running' AND run_id <> :run_id))

-- move destination --
INSERT INTO medmirror.sync_destination AS d (organization_id, source, destination, pushed_run, settings_digest, pushed_at)
VALUES (:organization_id, :source, :destination, :pushed_run, :settings_digest, :now)
ON CONFLICT (organization_id, source, destination) DO UPDATE
SET pushed_run = excluded.pushed_run, settings_digest = excluded.settings_digest, pushed_at = excluded.pushed_at

-- note listed --
INSERT INTO medmirror.sync_destination AS d (organization_id, source, destination, listed)
VALUES (:organization_id, :source, :destination, jsonb_build_object(CAST(:feed AS text), CAST(:until AS int8)))
ON CONFLICT (organization_id, source, destination) DO UPDATE SET listed = d.listed || excluded.listed

-- delta --
-- Records that are not as they were when they were last looked at, referenced ones first.
SELECT m.feed, m.source_id
FROM medmirror.sync_mapping AS m
LEFT JOIN medmirror.sync_base AS b
  ON b.organization_id = m.organization_id AND b.source = m.source AND b.destination = :destination AND b.feed = m.feed
 AND b.source_id = m.source_id
LEFT JOIN canonical.record AS c
  ON c.entity = m.entity AND c.organization_id = m.organization_id AND c.source = m.source AND c.feed = m.feed
 AND c.source_id = m.source_id
WHERE m.organization_id = :organization_id AND m.source = :source AND m.entity = ANY(CAST(:entities AS text[]))
  AND m.state IN ('active', 'archived', 'deleted')
  AND (m.run_id > :floor AND (b.seen_hash, b.seen_state) IS DISTINCT FROM (m.canonical_hash, m.state) OR b.outcome = 'waiting')
  AND (b.outcome IS NOT NULL OR m.state <> 'deleted')
ORDER BY array_position(CAST(:entities AS text[]), m.entity), c.record #>> '{starts,utc}', m.feed, m.source_id
LIMIT :limit

-- entries --
SELECT m.feed, m.source_id, m.entity, m.version, m.canonical_hash, m.state, c.record, b.remote_feed, b.remote_id,
       b.remote_version, b.remote_hash, b.local_hash, b.local_record, b.remote_record, b.round, b.outcome,
       b.agreed_at IS NOT NULL AS based, m.deleted_version
FROM unnest(CAST(:feeds AS text[]), CAST(:source_ids AS text[])) WITH ORDINALITY AS n(feed, source_id, place)
JOIN medmirror.sync_mapping AS m
  ON m.organization_id = :organization_id AND m.source = :source AND m.feed = n.feed AND m.source_id = n.source_id
LEFT JOIN canonical.record AS c
  ON c.entity = m.entity AND c.organization_id = m.organization_id AND c.source = m.source AND c.feed = m.feed
 AND c.source_id = m.source_id
LEFT JOIN medmirror.sync_base AS b
  ON b.organization_id = m.organization_id AND b.source = m.source AND b.destination = :destination AND b.feed = m.feed
 AND b.source_id = m.source_id
ORDER BY n.place

-- pairs --
SELECT b.feed, b.source_id, b.remote_feed, b.remote_id
FROM unnest(CAST(:feeds AS text[]), CAST(:source_ids AS text[])) AS n(feed, source_id)
JOIN medmirror.sync_base AS b
  ON b.organization_id = :organization_id AND b.source = :source AND b.destination = :destination AND b.feed = n.feed
 AND b.source_id = n.source_id
WHERE b.remote_id IS NOT NULL

-- paired --
SELECT b.remote_feed, b.remote_id
FROM unnest(CAST(:feeds AS text[]), CAST(:remote_ids AS text[])) AS n(feed, remote_id)
JOIN medmirror.sync_base AS b
  ON b.organization_id = :organization_id AND b.source = :source AND b.destination = :destination AND b.remote_feed = n.feed
 AND b.remote_id = n.remote_id

-- twins --
-- Copies that deduplication found, where the destination is mirrored, too.
SELECT m.feed, m.source_id, o.feed AS remote_feed, o.source_id AS remote_id
FROM unnest(CAST(:feeds AS text[]), CAST(:source_ids AS text[])) AS n(feed, source_id)
JOIN medmirror.sync_mapping AS m
  ON m.organization_id = :organization_id AND m.source = :source AND m.feed = n.feed AND m.source_id = n.source_id
JOIN medmirror.sync_mapping AS o
  ON o.canonical_id = m.canonical_id AND o.organization_id = m.organization_id AND o.source = :other AND o.entity = m.entity
WHERE o.state IN ('active', 'archived')
ORDER BY m.feed, m.source_id, o.feed, o.source_id

-- count living --
SELECT count(*) FROM medmirror.sync_mapping
WHERE organization_id = :organization_id AND source = :source AND entity = :entity AND state IN ('active', 'archived')

-- count copies --
SELECT count(*) FROM medmirror.sync_base
WHERE organization_id = :organization_id AND source = :source AND destination = :destination AND entity = :entity
  AND local_hash IS NOT NULL AND remote_id IS NOT NULL

-- agree --
INSERT INTO medmirror.sync_base AS b
  (organization_id, source, destination, feed, source_id, entity, remote_feed, remote_id, remote_version, remote_hash,
   local_version, local_hash, local_record, remote_record, round, idempotency_key, agreed_at, outcome, seen_hash, seen_state,
   run_id)
VALUES (:organization_id, :source, :destination, :feed, :source_id, :entity, :remote_feed, :remote_id, :remote_version,
        :remote_hash, :local_version, :local_hash, CAST(:local_record AS jsonb), CAST(:remote_record AS jsonb), 1,
        :idempotency_key, :now, :outcome, :seen_hash, :seen_state, :run_id)
ON CONFLICT (organization_id, source, destination, feed, source_id) DO UPDATE
SET entity = excluded.entity, remote_feed = excluded.remote_feed, remote_id = excluded.remote_id,
    remote_version = excluded.remote_version, remote_hash = excluded.remote_hash, local_version = excluded.local_version,
    local_hash = excluded.local_hash, local_record = excluded.local_record, remote_record = excluded.remote_record,
    round = b.round + 1, idempotency_key = excluded.idempotency_key, agreed_at = excluded.agreed_at,
    outcome = excluded.outcome, seen_hash = excluded.seen_hash, seen_state = excluded.seen_state,
    seen_at = clock_timestamp(), run_id = excluded.run_id

-- settle --
-- It was looked at, and the base stays as it is.
INSERT INTO medmirror.sync_base AS b
  (organization_id, source, destination, feed, source_id, entity, outcome, seen_hash, seen_state, run_id)
VALUES (:organization_id, :source, :destination, :feed, :source_id, :entity, :outcome, :seen_hash, :seen_state, :run_id)
ON CONFLICT (organization_id, source, destination, feed, source_id) DO UPDATE
SET outcome = excluded.outcome, seen_hash = excluded.seen_hash, seen_state = excluded.seen_state,
    seen_at = clock_timestamp(), run_id = excluded.run_id

-- look again --
UPDATE medmirror.sync_base SET outcome = 'waiting'
WHERE organization_id = :organization_id AND source = :source AND feed = :feed
  AND (source_id = :source_id OR CAST(:source_id AS text) IS NULL AND outcome = 'refused')
  AND (CAST(:destination AS text) IS NULL OR destination = :destination)

-- add unpaired --
INSERT INTO medmirror.sync_unpaired AS u
  (organization_id, source, destination, remote_feed, remote_id, likeness, starts, ends, patient, practitioner)
SELECT :organization_id, :source, :destination, :feed, n.remote_id, n.likeness, n.starts, n.ends, n.patient, n.practitioner
FROM unnest(CAST(:remote_ids AS text[]), CAST(:likenesses AS bytea[]), CAST(:starts AS int8[]), CAST(:ends AS int8[]),
            CAST(:patients AS text[]), CAST(:practitioners AS text[]))
     AS n(remote_id, likeness, starts, ends, patient, practitioner)
ORDER BY n.remote_id
ON CONFLICT (organization_id, source, destination, remote_feed, remote_id) DO UPDATE
SET likeness = excluded.likeness, starts = excluded.starts, ends = excluded.ends, patient = excluded.patient,
    practitioner = excluded.practitioner

-- unpaired between --
SELECT u.remote_id, u.starts, u.ends, u.patient, u.practitioner
FROM medmirror.sync_unpaired AS u
WHERE u.organization_id = :organization_id AND u.source = :source AND u.destination = :destination
  AND u.remote_feed = :remote_feed AND u.starts < :until AND u.ends >= :since

-- drop unpaired --
DELETE FROM medmirror.sync_unpaired AS u
USING unnest(CAST(:feeds AS text[]), CAST(:remote_ids AS text[])) AS n(feed, remote_id)
WHERE u.organization_id = :organization_id AND u.source = :source AND u.destination = :destination
  AND u.remote_feed = n.feed AND u.remote_id = n.remote_id

-- alike --
SELECT u.remote_feed, u.remote_id
FROM medmirror.sync_unpaired AS u
WHERE u.organization_id = :organization_id AND u.source = :source AND u.destination = :destination
  AND u.remote_feed = :remote_feed AND u.likeness = :likeness
ORDER BY u.remote_id
LIMIT 5

-- ask --
INSERT INTO medmirror.sync_review AS r
  (organization_id, source, destination, entity, feed, source_id, remote_feed, remote_id, kind, why, local_hash, remote_hash,
   remote_record, run_id)
VALUES (:organization_id, :source, :destination, :entity, :feed, :source_id, :remote_feed, :remote_id, :kind, :why,
        :local_hash, :remote_hash, CAST(:remote_record AS jsonb), :run_id)
ON CONFLICT (organization_id, source, destination, feed, source_id, coalesce(remote_feed, ''), coalesce(remote_id, ''))
  WHERE state IN ('open', 'decided') DO UPDATE
SET kind = excluded.kind, why = excluded.why, local_hash = excluded.local_hash, remote_hash = excluded.remote_hash,
    remote_record = excluded.remote_record, state = 'open', decision = NULL, run_id = excluded.run_id

-- decided --
SELECT review_id, feed, source_id, remote_feed, remote_id, kind, decision, local_hash, remote_hash
FROM medmirror.sync_review
WHERE organization_id = :organization_id AND source = :source AND destination = :destination AND state = 'decided'
  AND (feed, source_id) IN (SELECT * FROM unnest(CAST(:feeds AS text[]), CAST(:source_ids AS text[])))

-- close reviews --
-- Those of a record: what a person said has been done, and what nobody said is asked no longer.
UPDATE medmirror.sync_review
SET state = CASE WHEN state = 'decided' THEN 'done' ELSE 'superseded' END, closed_at = clock_timestamp(), remote_record = NULL
WHERE organization_id = :organization_id AND source = :source AND destination = :destination AND feed = :feed
  AND source_id = :source_id AND state IN ('open', 'decided')

-- reviews --
SELECT review_id, organization_id, source, destination, entity, feed, source_id, remote_feed, remote_id, kind, why, state,
       decision, decided_by, decided_at, created_at, closed_at
FROM medmirror.sync_review
WHERE (CAST(:organization_id AS text) IS NULL OR organization_id = :organization_id)
  AND (CAST(:state AS text) IS NULL OR state = :state)
ORDER BY review_id
LIMIT :limit

-- count reviews --
SELECT count(*) FROM medmirror.sync_review
WHERE (CAST(:organization_id AS text) IS NULL OR organization_id = :organization_id)
  AND (CAST(:state AS text) IS NULL OR state = :state)

-- review --
SELECT r.review_id, r.organization_id, r.source, r.destination, r.entity, r.feed, r.source_id, r.remote_feed, r.remote_id,
       r.kind, r.why, r.state, r.decision, r.decided_by, r.decided_at, r.reason, r.created_at, r.closed_at, r.remote_record,
       c.record AS local_record, b.local_record AS base_record
FROM medmirror.sync_review AS r
LEFT JOIN canonical.record AS c USING (entity, organization_id, source, feed, source_id)
LEFT JOIN medmirror.sync_base AS b USING (organization_id, source, destination, feed, source_id)
WHERE r.review_id = :review_id

-- decide --
UPDATE medmirror.sync_review
SET state = 'decided', decision = :decision, decided_by = :decided_by, decided_at = :now, reason = :reason
WHERE review_id = :review_id AND state IN ('open', 'decided')
RETURNING organization_id, source, destination, feed, source_id
