-- What `medmirror status` and `runs` read. {fact} is a feed's narrow facts.

-- feed --
SELECT count(*) FILTER (WHERE NOT deleted) AS living, count(*) FILTER (WHERE deleted) AS deleted,
       pg_total_relation_size(CAST(:wide AS regclass)) AS bytes, to_regclass(:search) IS NOT NULL AS searchable
FROM {fact}

-- sources --
SELECT f.source, count(*) FILTER (WHERE f.status = 'done') AS done, count(*) FILTER (WHERE f.status = 'open') AS open,
       count(*) FILTER (WHERE f.status = 'refused') AS refused, max(r.finished_at) AS last_load,
       (SELECT count(*) FROM medmirror.reject AS j WHERE j.source = f.source AND j.resolved_at IS NULL) AS open_rejects
FROM medmirror.file AS f LEFT JOIN medmirror.run AS r USING (run_id)
GROUP BY f.source ORDER BY f.source

-- server --
SELECT current_database() AS database, current_setting('server_version') AS version,
       pg_database_size(current_database()) AS bytes

-- running --
SELECT run_id, command, source, started_at, host, pid FROM medmirror.run WHERE status = 'running' ORDER BY run_id

-- runs --
SELECT run_id, command, source, started_at, seconds, status, error,
       CAST(counts ->> 'read' AS int8) AS read, CAST(counts ->> 'inserted' AS int8) AS inserted,
       CAST(counts ->> 'updated' AS int8) AS updated, CAST(counts ->> 'unchanged' AS int8) AS unchanged,
       CAST(counts ->> 'rejected' AS int8) AS rejected
FROM medmirror.run ORDER BY run_id DESC LIMIT :limit

-- run --
SELECT run_id, command, source, started_at, finished_at, status, host, pid, version, settings, counts, seconds, error
FROM medmirror.run WHERE run_id = :run_id

-- run files --
-- A file refused after a part of it was loaded has both a status and counts.
SELECT f.file_id, f.source, f.path, f.status, coalesce(c.read, 0) AS read, coalesce(c.inserted, 0) AS inserted,
       coalesce(c.updated, 0) AS updated, coalesce(c.unchanged, 0) AS unchanged, coalesce(c.duplicate, 0) AS duplicate,
       coalesce(c.tombstoned, 0) AS tombstoned, coalesce(c.rejected, 0) AS rejected, coalesce(c.filtered, 0) AS filtered,
       f.refused_error AS error, f.refused_reason AS reason
FROM medmirror.file AS f
LEFT JOIN (
    SELECT file_id, CAST(sum(read) AS int8) AS read, CAST(sum(inserted) AS int8) AS inserted,
           CAST(sum(updated) AS int8) AS updated, CAST(sum(unchanged) AS int8) AS unchanged,
           CAST(sum(duplicate) AS int8) AS duplicate, CAST(sum(tombstoned) AS int8) AS tombstoned,
           CAST(sum(rejected) AS int8) AS rejected, CAST(sum(filtered) AS int8) AS filtered
    FROM medmirror.chunk WHERE run_id = :run_id GROUP BY file_id
) AS c USING (file_id)
WHERE f.run_id = :run_id OR c.file_id IS NOT NULL
ORDER BY f.path, f.file_id
