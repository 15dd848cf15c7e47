-- The nightly full sync: its runs and receipts, the plans that were made, and what whole passes did not show any more.

-- migrate 1 --
CREATE TABLE medmirror.nightly (
    run_id bigint PRIMARY KEY REFERENCES medmirror.run ON DELETE CASCADE,
    name text NOT NULL,
    nominal date NOT NULL,
    zone text NOT NULL,
    config_digest text NOT NULL,
    plan_digest text,
    through boolean NOT NULL DEFAULT false,
    receipt jsonb
);
COMMENT ON TABLE medmirror.nightly IS 'One row a run of a nightly, with its receipt; the row of the same number in medmirror.run has its times.';
COMMENT ON COLUMN medmirror.nightly.name IS 'which nightly: the name in its file';
COMMENT ON COLUMN medmirror.nightly.nominal IS 'the local date of the night that it was for';
COMMENT ON COLUMN medmirror.nightly.config_digest IS 'SHA-256 of the file and of the mapping files that it names';
COMMENT ON COLUMN medmirror.nightly.plan_digest IS 'the plan that was applied, if one was';
COMMENT ON COLUMN medmirror.nightly.through IS
    'it went through to its end, whatever came of the parts: the night is done. false: it was stopped or killed, and is taken up again';
COMMENT ON COLUMN medmirror.nightly.receipt IS 'what came of it; never a value of a record';
CREATE INDEX ON medmirror.nightly (name, nominal);

CREATE TABLE medmirror.nightly_plan (
    digest text PRIMARY KEY,
    name text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    basis jsonb NOT NULL,
    changes jsonb NOT NULL
);
COMMENT ON TABLE medmirror.nightly_plan IS 'What `medmirror nightly --plan` found would change.';
COMMENT ON COLUMN medmirror.nightly_plan.digest IS 'SHA-256 of basis';
COMMENT ON COLUMN medmirror.nightly_plan.basis IS 'digests of the configuration, of every input, and of the tables before';
COMMENT ON COLUMN medmirror.nightly_plan.changes IS 'counts a table; never a value of a record';

CREATE TABLE medmirror.whole_pass (
    organization_id text NOT NULL,
    source text NOT NULL,
    feed text NOT NULL,
    evidence bytea NOT NULL,
    run_id bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, source, feed)
);
COMMENT ON TABLE medmirror.whole_pass IS
    'The last whole pass over a feed of an organisation: how far its deletions are known. A partial pass never moves it.';
COMMENT ON COLUMN medmirror.whole_pass.evidence IS
    'which files the pass saw, and of when: the same files again are the same pass, and confirm nothing';

-- last night --
SELECT max(nominal) FROM medmirror.nightly WHERE name = :name AND through

-- begin night --
INSERT INTO medmirror.nightly (run_id, name, nominal, zone, config_digest, plan_digest)
VALUES (:run_id, :name, :nominal, :zone, :config_digest, :plan_digest)

-- end night --
UPDATE medmirror.nightly SET through = :through, receipt = CAST(:receipt AS jsonb) WHERE run_id = :run_id

-- receipt --
SELECT receipt FROM medmirror.nightly WHERE run_id = :run_id

-- who runs --
SELECT r.run_id, r.host, r.pid, r.started_at FROM medmirror.nightly AS n JOIN medmirror.run AS r USING (run_id)
WHERE r.status = 'running' ORDER BY r.run_id DESC LIMIT 1

-- inputs --
SELECT f.file_id, f.source, f.organization_id, f.path, f.size, encode(f.digest, 'hex') AS digest, f.file_order, f.status
FROM medmirror.file AS f
WHERE f.file_id = ANY(CAST(:file_ids AS int8[]))
ORDER BY f.path, f.file_id

-- last pass --
SELECT evidence FROM medmirror.whole_pass WHERE organization_id = :organization AND source = :source AND feed = :feed

-- note pass --
INSERT INTO medmirror.whole_pass AS p (organization_id, source, feed, evidence, run_id)
VALUES (:organization, :source, :feed, :evidence, :run_id)
ON CONFLICT (organization_id, source, feed) DO UPDATE
SET evidence = excluded.evidence, run_id = excluded.run_id, seen_at = excluded.seen_at

-- unread --
-- Rejects of the files of a pass that may hold a record of a feed.
SELECT count(*) FROM medmirror.reject
WHERE file_id = ANY(CAST(:file_ids AS int8[])) AND (feed = :feed OR feed IS NULL) AND resolved_at IS NULL

-- judge --
-- Compares what a pass saw of a feed with those of its records that nobody said were deleted, and writes what follows; all in the server, which
-- spills to disk what does not fit its work_mem. Both sides are sorted together, for nothing tells the planner how many keys
-- a chunk has, and a join that he takes for a small one never ends. `|| ''` and OFFSET 0: the keys of a chunk are fetched
-- once, not once a key.
-- A record seen again is taken back by any pass; only a whole one may miss records, and only one of other evidence than
-- the pass before may miss them for the second time. Nothing is missed when more would go than may.
WITH both_sides AS (
    SELECT substring(k.keys FROM i * 8 + 1 FOR 8) AS key, CAST(NULL AS text) AS source_id, CAST(NULL AS int2) AS missing
    FROM (SELECT c.keys || CAST('' AS bytea) AS keys FROM medmirror.chunk AS c
          WHERE c.file_id = ANY(CAST(:file_ids AS int8[])) AND length(c.keys) > 0 OFFSET 0) AS k
    CROSS JOIN LATERAL generate_series(0, length(k.keys) / 8 - 1) AS i
    UNION ALL
    SELECT substring(sha256(convert_to(m.feed || chr(31) || m.source_id, 'UTF8')) FROM 1 FOR 8), m.source_id, m.missing
    FROM medmirror.sync_mapping AS m
    WHERE m.organization_id = :organization AND m.source = :source AND m.feed = :feed
      AND m.tombstone IS DISTINCT FROM 'explicit'
), marked AS (
    SELECT source_id, missing, NOT bool_or(source_id IS NULL) OVER (PARTITION BY key) AS unseen FROM both_sides
), living AS MATERIALIZED (
    SELECT * FROM marked WHERE source_id IS NOT NULL
), counted AS (
    SELECT count(*) FILTER (WHERE missing < 2) AS living, count(*) FILTER (WHERE NOT unseen) AS seen,
           count(*) FILTER (WHERE unseen AND missing = 0 AND :whole) AS newly,
           count(*) FILTER (WHERE unseen AND missing = 1 AND :whole AND :other) AS again,
           count(*) FILTER (WHERE NOT unseen AND missing > 0) AS back
    FROM living
), verdict AS (
    SELECT c.*, greatest(CAST(:count AS int8), CAST(floor(c.living * CAST(:share AS float8) / 100) AS int8)) AS most
    FROM counted AS c
), todo AS (
    SELECT l.source_id, l.missing, CAST(CASE WHEN l.unseen THEN l.missing + 1 ELSE 0 END AS smallint) AS becomes
    FROM living AS l CROSS JOIN verdict AS v
    WHERE CASE WHEN l.unseen THEN :whole AND v.newly <= v.most AND v.again <= v.most
                                  AND (l.missing = 0 OR l.missing = 1 AND :other)
               ELSE l.missing > 0 END
), locked AS MATERIALIZED (
    SELECT m.source_id, t.missing, t.becomes
    FROM medmirror.sync_mapping AS m JOIN todo AS t USING (source_id)
    WHERE m.organization_id = :organization AND m.source = :source AND m.feed = :feed
    ORDER BY m.source_id
    FOR UPDATE OF m
), written AS (
    UPDATE medmirror.sync_mapping AS m
    SET missing = k.becomes, run_id = :run_id, mapped_at = now()
    FROM locked AS k
    WHERE m.organization_id = :organization AND m.source = :source AND m.feed = :feed AND m.source_id = k.source_id
      AND m.missing = k.missing
    RETURNING m.missing
)
SELECT v.living, v.seen, v.newly, v.again, v.back, v.most, v.newly > v.most OR v.again > v.most AS withheld,
       (SELECT count(*) FROM written) AS written
FROM verdict AS v

-- keep plan --
INSERT INTO medmirror.nightly_plan AS p (digest, name, basis, changes)
VALUES (:digest, :name, CAST(:basis AS jsonb), CAST(:changes AS jsonb))
ON CONFLICT (digest) DO UPDATE SET made_at = clock_timestamp(), changes = excluded.changes

-- plan --
SELECT basis, changes FROM medmirror.nightly_plan WHERE digest = :digest

-- first transaction --
-- Its number is taken after the snapshot: whatever has a higher one and can be seen is our own.
SELECT CAST(CAST(pg_current_xact_id() AS xid) AS text)

-- key columns --
SELECT array_agg(CAST(a.attname AS text) ORDER BY k.place) AS names,
       array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY k.place) AS types
FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL unnest(CAST(i.indkey AS int2[])) WITH ORDINALITY AS k(number, place)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = CAST(:relation AS regclass) AND i.indisprimary

-- written --
-- Rows of {relation} that this transaction wrote, savepoints and all.
SELECT {keys}, to_jsonb(t) - CAST(:without AS text[]) AS row
FROM {relation} AS t
WHERE age(t.xmin) <= age(CAST(CAST(:first AS text) AS xid))

-- rows --
SELECT {keys}, to_jsonb(t) - CAST(:without AS text[]) AS row
FROM {relation} AS t JOIN unnest({unnest}) AS n({names}) USING ({names})

-- size --
SELECT count(*) FROM {relation}

-- temporary tables --
SELECT CAST(c.relname AS text) FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = pg_my_temp_schema() AND c.relkind = 'r' ORDER BY 1
