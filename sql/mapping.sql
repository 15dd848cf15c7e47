-- What the source's records mean: canonical records, and which source record each of them was made of. ingest/canonicalstore.py
-- writes both, in the transaction that stores the record; nothing else does, but for canonical_id (matching.sql) and
-- missing (nightly.sql).

-- migrate 1 --
CREATE TABLE medmirror.sync_mapping (
    organization_id text NOT NULL,
    source text NOT NULL,
    feed text NOT NULL,
    source_id text NOT NULL,
    entity text,
    canonical_id uuid NOT NULL,
    own_id uuid NOT NULL,
    version bigint,
    source_hash bytea,
    canonical_hash bytea,
    mapping_digest bytea,
    schema_version int,
    gone boolean NOT NULL DEFAULT false,
    archived boolean NOT NULL DEFAULT false,
    deleted_version bigint,
    missing smallint NOT NULL DEFAULT 0 CHECK (missing BETWEEN 0 AND 2),
    tombstone text GENERATED ALWAYS AS (CASE
        WHEN gone OR deleted_version >= coalesce(version, deleted_version) THEN 'explicit'
        WHEN missing > 0 THEN 'inferred'
        WHEN archived THEN 'archived' END) STORED,
    state text GENERATED ALWAYS AS (CASE
        WHEN gone OR missing = 2 OR deleted_version >= coalesce(version, deleted_version) THEN 'deleted'
        WHEN missing = 1 THEN 'missing'
        WHEN archived THEN 'archived'
        WHEN canonical_hash IS NULL THEN 'unmapped'
        ELSE 'active' END) STORED,
    run_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    mapped_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, source, feed, source_id)
);
COMMENT ON TABLE medmirror.sync_mapping IS
    'One row a record of an organisation: which canonical record it is, of which version and content, in which state.';
COMMENT ON COLUMN medmirror.sync_mapping.feed IS 'kind of record, as its source calls it';
COMMENT ON COLUMN medmirror.sync_mapping.entity IS 'canonical entity; NULL for a feed that is not mapped';
COMMENT ON COLUMN medmirror.sync_mapping.canonical_id IS
    'own_id, or that of the record of the same organisation that it was found to be the same as';
COMMENT ON COLUMN medmirror.sync_mapping.own_id IS 'UUID (version 5) of the primary key: what the record is by itself';
COMMENT ON COLUMN medmirror.sync_mapping.version IS 'of the record''s newest copy; NULL when only its deletion is known';
COMMENT ON COLUMN medmirror.sync_mapping.source_hash IS 'first 16 bytes of SHA-256 of the record as the source gave it';
COMMENT ON COLUMN medmirror.sync_mapping.canonical_hash IS 'of the canonical record; NULL: there is none';
COMMENT ON COLUMN medmirror.sync_mapping.mapping_digest IS 'of the mapper that made the canonical record';
COMMENT ON COLUMN medmirror.sync_mapping.gone IS 'the newest copy of the record says that it is deleted';
COMMENT ON COLUMN medmirror.sync_mapping.deleted_version IS
    'the newest deletion that another feed reports (a list of deleted records); it counts against versions up to its own';
COMMENT ON COLUMN medmirror.sync_mapping.missing IS 'how many whole passes in a row have not seen it: 2 is a deletion';
COMMENT ON COLUMN medmirror.sync_mapping.tombstone IS 'explicit, inferred or archived; NULL for a living record';
COMMENT ON COLUMN medmirror.sync_mapping.state IS 'active, archived, missing, deleted or unmapped';
CREATE INDEX sync_mapping_canonical ON medmirror.sync_mapping (canonical_id);
CREATE INDEX sync_mapping_run ON medmirror.sync_mapping USING brin (run_id);
SELECT medmirror.wall_off('medmirror.sync_mapping');

CREATE SCHEMA canonical;
COMMENT ON SCHEMA canonical IS 'medmirror: every practice system''s records in one shape';
CREATE TABLE canonical.record (
    entity text NOT NULL,
    organization_id text NOT NULL,
    source text NOT NULL,
    feed text NOT NULL,
    source_id text NOT NULL,
    schema_version int NOT NULL,
    record jsonb NOT NULL,
    PRIMARY KEY (entity, organization_id, source, feed, source_id)
) PARTITION BY LIST (entity);
COMMENT ON TABLE canonical.record IS 'One row a mapped record; docs/mapping.md says what is in it. Identity and state: medmirror.sync_mapping.';
DO $body$
DECLARE
    entity text;
BEGIN
    FOREACH entity IN ARRAY ARRAY['patient', 'practitioner', 'location', 'appointment', 'encounter', 'prescription', 'coverage',
                                  'inventory_item', 'document'] LOOP
        EXECUTE format('CREATE TABLE canonical.%I PARTITION OF canonical.record FOR VALUES IN (%L)', entity || '_record', entity);
        PERFORM medmirror.wall_off(format('canonical.%I', entity || '_record'));
        EXECUTE format(
            'CREATE VIEW canonical.%I AS SELECT m.canonical_id, m.state, r.organization_id, r.source, r.feed, r.source_id,'
            ' r.schema_version, r.record FROM canonical.%I AS r JOIN medmirror.sync_mapping AS m'
            ' USING (organization_id, source, feed, source_id)', entity, entity || '_record');
        PERFORM medmirror.show_safely(format('canonical.%I', entity));
    END LOOP;
END
$body$;
SELECT medmirror.wall_off('canonical.record');

-- migrate 2 --
-- Neither run nor version nor mapping counts: two mirrors hold the same when it means the same.
SELECT medmirror.keep_digest('medmirror.sync_mapping',
    ARRAY['entity', 'canonical_id', 'source_hash', 'canonical_hash', 'schema_version', 'tombstone', 'state']);
SELECT medmirror.keep_digest('canonical.record', ARRAY['schema_version', 'record'], 'entity');

-- migrate 3 --
CREATE TABLE medmirror.withheld (
    organization_id text NOT NULL,
    source text NOT NULL,
    feed text NOT NULL,
    source_id text NOT NULL,
    fields text[] NOT NULL,
    run_id bigint NOT NULL,
    withheld_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, source, feed, source_id)
);
COMMENT ON TABLE medmirror.withheld IS
    'Records that keep fields which their source has emptied in all records at once, until a person says that they are empty.';
COMMENT ON COLUMN medmirror.withheld.feed IS 'as in medmirror.sync_mapping';
COMMENT ON COLUMN medmirror.withheld.fields IS 'of the canonical record: "phones", "names.given"';
COMMENT ON COLUMN medmirror.withheld.run_id IS 'the run that withheld them last';
SELECT medmirror.wall_off('medmirror.withheld');

-- withheld fields --
SELECT w.feed, array_agg(DISTINCT f.field) AS fields
FROM medmirror.withheld AS w CROSS JOIN LATERAL unnest(w.fields) AS f(field)
WHERE w.organization_id = :organization AND w.source = :source
GROUP BY w.feed

-- withheld before --
SELECT w.feed, w.source_id, w.fields
FROM medmirror.withheld AS w
JOIN unnest(CAST(:feed AS text[]), CAST(:source_id AS text[])) AS n(feed, source_id) USING (feed, source_id)
WHERE w.organization_id = :organization AND w.source = :source

-- withhold --
INSERT INTO medmirror.withheld AS w (organization_id, source, feed, source_id, fields, run_id)
VALUES (:organization, :source, :feed, :source_id, CAST(:fields AS text[]), :run_id)
ON CONFLICT (organization_id, source, feed, source_id) DO UPDATE
SET fields = excluded.fields, run_id = excluded.run_id, withheld_at = excluded.withheld_at

-- end withheld --
DELETE FROM medmirror.withheld AS w
USING unnest(CAST(:feed AS text[]), CAST(:source_id AS text[])) AS n(feed, source_id)
WHERE w.organization_id = :organization AND w.source = :source AND w.feed = n.feed AND w.source_id = n.source_id

-- stored --
SELECT c.source_id, CAST(c.record AS text) AS record
FROM canonical.record AS c
WHERE c.entity = :entity AND c.organization_id = :organization AND c.source = :source AND c.feed = :feed
  AND c.source_id = ANY (CAST(:ids AS text[]))

-- stored of feed --
SELECT c.source_id, CAST(c.record AS text) AS record
FROM canonical.record AS c
WHERE c.entity = :entity AND c.organization_id = :organization AND c.source = :source AND c.feed = :feed
LIMIT :most

-- withheld of organization --
SELECT w.source, w.feed, f.field, count(*) AS records
FROM medmirror.withheld AS w CROSS JOIN LATERAL unnest(w.fields) AS f(field)
WHERE w.organization_id = :organization AND (CAST(:source AS text) IS NULL OR w.source = :source)
GROUP BY w.source, w.feed, f.field ORDER BY w.source, w.feed, f.field

-- stored columns --
-- {table} is a source's table, {document} its column of whole records, {kind} that of their kind.
SELECT array_agg(DISTINCT k.name) AS names
FROM (SELECT t.{document} AS document FROM {table} AS t
      WHERE t.organization_id = :organization AND t.{kind} = :kind AND NOT t.deleted LIMIT 50) AS r
CROSS JOIN LATERAL jsonb_object_keys(r.document) AS k(name)

-- stage --
CREATE TEMP TABLE IF NOT EXISTS stage_mapping (
    feed text, source_id text, entity text, own_id uuid, version bigint, source_hash bytea, record jsonb, canonical_hash bytea,
    mapping_digest bytea, schema_version int, gone boolean, archived boolean
) ON COMMIT DELETE ROWS

-- clear stage --
TRUNCATE stage_mapping

-- copy stage --
COPY stage_mapping FROM STDIN (FORMAT BINARY)

-- map --
-- The claim on the record's facts, or a lock on them, makes the caller the only one to write these rows.
INSERT INTO medmirror.sync_mapping AS m
  (organization_id, source, feed, source_id, entity, canonical_id, own_id, version, source_hash, canonical_hash, mapping_digest,
   schema_version, gone, archived, run_id)
SELECT :organization, :source, s.feed, s.source_id, s.entity, s.own_id, s.own_id, s.version, s.source_hash, s.canonical_hash,
       s.mapping_digest, s.schema_version, s.gone, s.archived, :run_id
FROM stage_mapping AS s
ORDER BY s.feed, s.source_id
ON CONFLICT (organization_id, source, feed, source_id) DO UPDATE
SET entity = excluded.entity, version = excluded.version, source_hash = excluded.source_hash,
    canonical_hash = excluded.canonical_hash, mapping_digest = excluded.mapping_digest,
    schema_version = excluded.schema_version, gone = excluded.gone, archived = excluded.archived,
    missing = CASE WHEN :seen THEN 0 ELSE m.missing END, run_id = excluded.run_id, mapped_at = now()

-- upsert canonical --
INSERT INTO canonical.record AS c (entity, organization_id, source, feed, source_id, schema_version, record)
SELECT s.entity, :organization, :source, s.feed, s.source_id, s.schema_version, s.record
FROM stage_mapping AS s
WHERE s.record IS NOT NULL
ORDER BY s.entity, s.feed, s.source_id
ON CONFLICT (entity, organization_id, source, feed, source_id) DO UPDATE
SET schema_version = excluded.schema_version, record = excluded.record
WHERE (c.schema_version, c.record) IS DISTINCT FROM (excluded.schema_version, excluded.record)

-- stale canonical --
-- Of staged records: canonical records that will not be any more, or that belonged to another entity. LIMIT keeps the
-- planner to one look in the index a record, whatever it thinks of the tables' sizes.
SELECT m.entity, s.feed, s.source_id
FROM stage_mapping AS s
CROSS JOIN LATERAL (
    SELECT entity FROM medmirror.sync_mapping AS m
    WHERE m.organization_id = :organization AND m.source = :source AND m.feed = s.feed AND m.source_id = s.source_id
      AND m.canonical_hash IS NOT NULL
    LIMIT 1) AS m
WHERE m.entity <> s.entity OR s.record IS NULL

-- drop canonical --
DELETE FROM canonical.record AS c
USING unnest(CAST(:entity AS text[]), CAST(:feed AS text[]), CAST(:source_id AS text[])) AS n(entity, feed, source_id)
WHERE c.entity = n.entity AND c.organization_id = :organization AND c.source = :source AND c.feed = n.feed
  AND c.source_id = n.source_id

-- advance --
-- Equal content under a newer version.
UPDATE medmirror.sync_mapping AS m
SET version = n.version, run_id = :run_id, missing = 0
FROM (SELECT * FROM unnest(CAST(:feed AS text[]), CAST(:source_id AS text[]), CAST(:version AS int8[]))
      AS n(feed, source_id, version) ORDER BY 1, 2) AS n
WHERE m.organization_id = :organization AND m.source = :source AND m.feed = n.feed AND m.source_id = n.source_id

-- note deletions --
-- What a list of deleted records says, in whatever order lists and records come.
INSERT INTO medmirror.sync_mapping AS m
  (organization_id, source, feed, source_id, entity, canonical_id, own_id, deleted_version, run_id)
SELECT :organization, :source, n.feed, n.source_id, n.entity, n.own_id, n.own_id, n.version, :run_id
FROM unnest(CAST(:feed AS text[]), CAST(:source_id AS text[]), CAST(:entity AS text[]), CAST(:own_id AS uuid[]),
            CAST(:version AS int8[])) AS n(feed, source_id, entity, own_id, version)
ORDER BY n.feed, n.source_id
ON CONFLICT (organization_id, source, feed, source_id) DO UPDATE
SET deleted_version = greatest(m.deleted_version, excluded.deleted_version), run_id = excluded.run_id, mapped_at = now()
WHERE m.deleted_version IS NULL OR m.deleted_version < excluded.deleted_version
