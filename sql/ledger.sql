-- The statements of db/ledger.py: who loaded what, when, from which bytes, with which counts.

-- begin run --
INSERT INTO medmirror.run (command, source, host, pid, version, settings)
VALUES (:command, :source, :host, :pid, :version, CAST(:settings AS jsonb))
RETURNING run_id

-- end run --
UPDATE medmirror.run
SET finished_at = clock_timestamp(), status = :status, counts = CAST(:counts AS jsonb), seconds = :seconds, error = :error
WHERE run_id = :run_id

-- running --
SELECT run_id, pid FROM medmirror.run WHERE status = 'running' AND host = :host

-- abandon runs --
UPDATE medmirror.run SET status = 'interrupted', finished_at = clock_timestamp()
WHERE run_id = ANY(:run_ids) AND status = 'running'

-- register files --
INSERT INTO medmirror.file AS f (source, path, size, digest, file_order, run_id, organization_id, beneath)
SELECT :source, n.path, n.size, n.digest, n.file_order, :run_id, :organization, n.beneath
FROM unnest(CAST(:path AS text[]), CAST(:size AS int8[]), CAST(:digest AS bytea[]), CAST(:file_order AS text[]),
            CAST(:beneath AS text[])) AS n(path, size, digest, file_order, beneath)
ORDER BY n.digest, n.file_order
ON CONFLICT (source, digest, file_order) DO UPDATE
SET path = excluded.path, run_id = excluded.run_id, beneath = excluded.beneath
RETURNING f.file_id, f.digest, f.file_order, f.status

-- done files --
-- LIMIT keeps the planner to one look in the unique index a file: the table's statistics are those of before the run.
SELECT f.file_id, n.digest, n.file_order
FROM unnest(CAST(:digest AS bytea[]), CAST(:file_order AS text[])) AS n(digest, file_order)
CROSS JOIN LATERAL (
    SELECT file_id, status FROM medmirror.file
    WHERE source = :source AND digest = n.digest AND file_order = n.file_order LIMIT 1) AS f
WHERE f.status = 'done'

-- in place --
-- What was loaded for an organisation from those places, the latest last. OFFSET keeps the planner to one look in the index
-- a place, and `|| ''` away from the index on sources: the table's statistics are those of before the run.
SELECT n.path, f.digest, f.file_order, f.file_id
FROM unnest(CAST(:path AS text[])) AS n(path)
CROSS JOIN LATERAL (
    SELECT digest, file_order, file_id, run_id FROM medmirror.file
    WHERE path = n.path AND organization_id = :organization AND source || '' = :source OFFSET 0) AS f
ORDER BY f.run_id, f.file_id

-- done spans --
SELECT file_id, member, start_byte, end_byte FROM medmirror.chunk WHERE file_id = ANY(CAST(:file_ids AS int8[]))

-- spans of run --
SELECT file_id, member, start_byte, end_byte FROM medmirror.chunk
WHERE run_id = :run_id AND file_id = ANY(CAST(:file_ids AS int8[]))

-- counts of run --
SELECT coalesce(sum(read), 0), coalesce(sum(inserted), 0), coalesce(sum(updated), 0), coalesce(sum(unchanged), 0),
       coalesce(sum(duplicate), 0), coalesce(sum(tombstoned), 0), coalesce(sum(rejected), 0), coalesce(sum(filtered), 0),
       coalesce(sum(created), 0), CAST(coalesce(sum(end_byte - start_byte), 0) AS int8)
FROM medmirror.chunk WHERE run_id = :run_id

-- census --
-- A span that several runs have read counts once, and one within another (a reject that was tried again) not at all.
SELECT c.file_id, c.member, sum(c.read) AS read, coalesce(max(r.rejected), 0) AS rejected
FROM (
    SELECT DISTINCT ON (c.file_id, c.member, c.start_byte, c.end_byte) c.file_id, c.member, c.read
    FROM medmirror.chunk AS c
    WHERE c.file_id = ANY(CAST(:file_ids AS int8[])) AND NOT EXISTS (
        SELECT FROM medmirror.chunk AS o
        WHERE o.file_id = c.file_id AND o.member = c.member AND o.start_byte <= c.start_byte AND o.end_byte >= c.end_byte
          AND o.end_byte - o.start_byte > c.end_byte - c.start_byte)
    ORDER BY c.file_id, c.member, c.start_byte, c.end_byte, c.run_id DESC) AS c
LEFT JOIN (
    SELECT file_id, member, count(*) AS rejected
    FROM medmirror.reject WHERE file_id = ANY(CAST(:file_ids AS int8[])) AND resolved_at IS NULL
    GROUP BY 1, 2) AS r USING (file_id, member)
GROUP BY 1, 2

-- finish files --
-- Workers do not wait for the disk when they commit, so a crash of the server may take commits away that they have
-- reported. Only a file whose chunks are all there is finished; this commit does wait, and makes those before it last.
-- `+ 0`: by its primary key a file's few chunks are found at once, by the index on run_id all those of the run.
UPDATE medmirror.file AS f
SET status = n.status, bytes = n.bytes, refused_error = n.error, refused_reason = n.reason
FROM unnest(CAST(:file_id AS int8[]), CAST(:status AS text[]), CAST(:bytes AS int8[]), CAST(:error AS text[]),
            CAST(:reason AS text[]), CAST(:chunks AS int8[])) AS n(file_id, status, bytes, error, reason, chunks)
WHERE f.file_id = n.file_id
  AND (SELECT count(*) FROM medmirror.chunk AS c WHERE c.file_id = n.file_id AND c.run_id + 0 = :run_id) >= n.chunks
RETURNING f.file_id

-- supersede rejects --
-- Each pass over what is no file (no size) is a new entry: what it could not load are rejects of its own, and those of
-- earlier whole passes over the same thing are out of date.
UPDATE medmirror.reject AS r
SET resolved_at = clock_timestamp()
FROM medmirror.file AS n
JOIN medmirror.file AS f ON f.source = n.source AND f.path = n.path
WHERE n.file_id = ANY(CAST(:file_ids AS int8[])) AND n.size IS NULL AND n.status = 'done' AND f.file_id < n.file_id
  AND f.organization_id IS NOT DISTINCT FROM n.organization_id AND r.file_id = f.file_id AND r.resolved_at IS NULL

-- add chunks --
INSERT INTO medmirror.chunk AS c
  (file_id, member, start_byte, end_byte, run_id, read, inserted, updated, unchanged, duplicate, tombstoned, rejected,
   filtered, created, seconds, keys)
SELECT n.file_id, n.member, n.start_byte, n.end_byte, :run_id, n.read, n.inserted, n.updated, n.unchanged, n.duplicate,
       n.tombstoned, n.rejected, n.filtered, n.created, :seconds, n.keys
FROM unnest(CAST(:file_id AS int8[]), CAST(:member AS text[]), CAST(:start_byte AS int8[]), CAST(:end_byte AS int8[]),
            CAST(:read AS int4[]), CAST(:inserted AS int4[]), CAST(:updated AS int4[]), CAST(:unchanged AS int4[]),
            CAST(:duplicate AS int4[]), CAST(:tombstoned AS int4[]), CAST(:rejected AS int4[]),
            CAST(:filtered AS int4[]), CAST(:created AS int4[]), CAST(:keys AS bytea[]))
     AS n(file_id, member, start_byte, end_byte, read, inserted, updated, unchanged, duplicate, tombstoned, rejected,
          filtered, created, keys)
-- A worker that died after its commit leaves the row behind; its repeat finds everything unchanged and must not hide that.
ON CONFLICT (file_id, member, start_byte, end_byte, run_id) DO NOTHING
RETURNING file_id, member, start_byte

-- chunk counts --
SELECT read, inserted, updated, unchanged, duplicate, tombstoned, rejected, filtered, created
FROM medmirror.chunk
WHERE run_id = :run_id AND file_id = :file_id AND member = :member AND start_byte = :start_byte AND end_byte = :end_byte

-- add rejects --
INSERT INTO medmirror.reject AS r
  (file_id, member, source, feed, item, start_byte, end_byte, error, reason, raw, raw_complete, context, run_id,
   organization_id)
VALUES (:file_id, :member, :source, :feed, :item, :start_byte, :end_byte, :error, :reason, :raw, :raw_complete,
        CAST(:context AS jsonb), :run_id, :organization)
ON CONFLICT (file_id, member, start_byte, end_byte) DO UPDATE
SET error = excluded.error, reason = excluded.reason, run_id = excluded.run_id, last_failed_at = clock_timestamp(),
    attempts = r.attempts + CASE WHEN r.run_id = excluded.run_id THEN 0 ELSE 1 END, resolved_at = NULL

-- resolve rejects --
-- What was refused before and is not refused now has been loaded. An empty span at the start is a whole stream that could
-- not be read.
UPDATE medmirror.reject AS r
SET resolved_at = clock_timestamp()
FROM unnest(CAST(:file_id AS int8[]), CAST(:member AS text[]), CAST(:start_byte AS int8[]), CAST(:end_byte AS int8[]))
     AS n(file_id, member, start_byte, end_byte)
WHERE r.file_id = n.file_id AND r.member = n.member AND r.resolved_at IS NULL
  AND (r.start_byte >= n.start_byte AND r.end_byte <= n.end_byte OR r.end_byte = 0) AND r.run_id <> :run_id
