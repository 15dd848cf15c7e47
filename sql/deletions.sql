-- What whole passes did not show any more: ingest/deletions.py. The tables are those of nightly.sql.

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
