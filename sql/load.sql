-- The statements of ingest/store.py. {table} is a feed's wide table, {fact} the narrow facts beside it, {keys} its key columns,
-- {unnest} one array parameter a key column. Every statement that locks facts does so in key order: two loaders that
-- meet wait for one another, but never in a circle.

-- give way --
-- Until the transaction ends, wait for a lock only half as long as the server waits before it looks for a deadlock. A
-- program that locks our rows in another order then gets on, and is not ended for having met us.
SELECT set_config('lock_timeout', CAST(least(
    CAST(extract(epoch FROM CAST(current_setting('deadlock_timeout') AS interval)) * 500 AS int),
    nullif(CAST(extract(epoch FROM CAST(current_setting('lock_timeout') AS interval)) * 1000 AS int), 0)) AS text), true)

-- newer --
-- Whether a new row's copy is newer than the stored one (t), as ingest/order.py says.
({row}.version, {row}.tie, {row}.place) > (t.version, t.tie, t.place)

-- newer in a series --
-- The same for a feed of which some copies stand in no series of files: their version is 0, and tie is the day of revision.
CASE WHEN {row}.version <> 0 AND t.version <> 0 THEN ({row}.version, {row}.place) > (t.version, t.place)
     WHEN {row}.version = t.version THEN ({row}.tie, {row}.place) > (t.tie, t.place)
     WHEN {row}.version <> 0 THEN {row}.tie >= t.tie
     ELSE {row}.tie > {tie} END

-- revised --
-- The day of revision of a stored copy of a series, as the number YYYYMMDD. Version 0.1 did not keep it among the facts.
CASE WHEN t.tie <> 0 OR t.version = 0 THEN t.tie WHEN t.deleted THEN {deletion_day} ELSE
    coalesce((SELECT CAST(to_char(w.{revised}, 'YYYYMMDD') AS int8) FROM {table} AS w WHERE {wide_match}), 0) END

-- known --
SELECT {fact_keys}, t.version, {tie}, t.place, t.digest, t.deleted
FROM unnest({unnest}) AS n({keys})
JOIN {fact} AS t USING ({keys})

-- lock known --
SELECT 1
FROM {fact} AS t
JOIN unnest({unnest}) AS n({keys}) USING ({keys})
ORDER BY {fact_keys}
FOR UPDATE OF t

-- claim --
INSERT INTO {fact} AS t ({keys}, version, tie, place, digest, deleted, run_id)
SELECT {keys}, version, tie, place, digest, deleted, CAST(:run_id AS int8)
FROM unnest({unnest}, CAST(:version AS int8[]), CAST(:tie AS int8[]), CAST(:place AS int8[]), CAST(:digest AS bytea[]),
            CAST(:deleted AS bool[])) AS n({keys}, version, tie, place, digest, deleted)
ORDER BY {keys}
ON CONFLICT ({keys}) DO UPDATE
SET version = excluded.version, tie = excluded.tie, place = excluded.place, digest = excluded.digest,
    deleted = excluded.deleted, run_id = excluded.run_id
WHERE ({newer_excluded})
  AND (excluded.version <> t.version OR (excluded.digest, excluded.deleted) IS DISTINCT FROM (t.digest, t.deleted))
RETURNING {fact_keys}, t.xmax = 0 AS created

-- advance --
-- Equal content of a newer copy: only the narrow facts move. Without this a late copy of an old version between the two
-- would be taken for news. Where only the order of arrival is newer, the record counts as untouched by the run.
UPDATE {fact} AS t
SET version = n.version, tie = n.tie, place = n.place,
    run_id = CASE WHEN n.version = t.version THEN t.run_id ELSE CAST(:run_id AS int8) END
FROM unnest({unnest}, CAST(:version AS int8[]), CAST(:tie AS int8[]), CAST(:place AS int8[]), CAST(:digest AS bytea[]),
            CAST(:deleted AS bool[])) AS n({keys}, version, tie, place, digest, deleted)
WHERE {match} AND ({newer_n}) AND t.digest = n.digest AND t.deleted = n.deleted

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
