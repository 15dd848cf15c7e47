-- The statements of ingest/store.py. {table} is a feed's wide table, {fact} the narrow facts beside it, {keys} its key columns,
-- {unnest} one array parameter a key column. Every statement that locks facts does so in key order: two loaders that
-- meet wait for one another, but never in a circle.

-- give way --
-- Until the transaction ends, wait for a lock only half as long as the server waits before it looks for a deadlock. A
-- program that locks our rows in another order then gets on, and is not ended for having met us.
SELECT set_config('lock_timeout', CAST(least(
    CAST(extract(epoch FROM CAST(current_setting('deadlock_timeout') AS interval)) * 500 AS int),
    nullif(CAST(extract(epoch FROM CAST(current_setting('lock_timeout') AS interval)) * 1000 AS int), 0)) AS text), true)

-- known --
SELECT {fact_keys}, t.version, t.digest, t.deleted, t.run_id
FROM unnest({unnest}) AS n({keys})
JOIN {fact} AS t USING ({keys})

-- lock known --
SELECT 1
FROM {fact} AS t
JOIN unnest({unnest}) AS n({keys}) USING ({keys})
ORDER BY {fact_keys}
FOR UPDATE OF t

-- claim --
-- The later run wins a tie of versions: a corrected file under the same name must count. Within a run the digest
-- decides, so that the order of chunks does not.
INSERT INTO {fact} AS t ({keys}, version, digest, deleted, run_id)
SELECT {keys}, version, digest, deleted, CAST(:run_id AS int8)
FROM unnest({unnest}, CAST(:version AS int8[]), CAST(:digest AS bytea[]), CAST(:deleted AS bool[]))
     AS n({keys}, version, digest, deleted)
ORDER BY {keys}
ON CONFLICT ({keys}) DO UPDATE
SET version = excluded.version, digest = excluded.digest, deleted = excluded.deleted, run_id = excluded.run_id
WHERE excluded.version > t.version
   OR (excluded.version = t.version
       AND (excluded.digest, excluded.deleted) IS DISTINCT FROM (t.digest, t.deleted)
       AND (excluded.run_id, excluded.digest) > (t.run_id, t.digest))
RETURNING {fact_keys}, t.xmax = 0 AS created

-- advance --
-- Equal content under a newer version: only the narrow facts move. Without this a late copy of an old version between
-- the two would be taken for news.
UPDATE {fact} AS t
SET version = n.version, run_id = CAST(:run_id AS int8)
FROM unnest({unnest}, CAST(:version AS int8[]), CAST(:digest AS bytea[]), CAST(:deleted AS bool[]))
     AS n({keys}, version, digest, deleted)
WHERE {match} AND t.version < n.version AND t.digest = n.digest AND t.deleted = n.deleted

-- forget --
DELETE FROM {table} AS t USING unnest({unnest}) AS n({keys}) WHERE {match}

-- copy --
COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)

-- stage --
-- Postgres does not COPY into a table under row-level security; INSERT is checked row by row.
CREATE TEMP TABLE IF NOT EXISTS {stage} (LIKE {table} INCLUDING COMPRESSION) ON COMMIT DELETE ROWS

-- copy stage --
COPY {stage} ({columns}) FROM STDIN (FORMAT BINARY)

-- unstage --
INSERT INTO {table} ({columns}) SELECT {columns} FROM {stage}

-- clear stage --
TRUNCATE {stage}
