-- The statements of ingest/rejects.py. Raw bytes are read for one reject at a time: each may be large.

-- list --
SELECT r.reject_id, r.source, r.feed, f.path, r.member, r.item, r.start_byte, r.end_byte, r.error, r.reason, r.attempts,
       r.first_failed_at, r.last_failed_at, r.resolved_at, r.run_id
FROM medmirror.reject AS r JOIN medmirror.file AS f USING (file_id)
WHERE (CAST(:everything AS bool) OR r.resolved_at IS NULL) AND (CAST(:source AS text) IS NULL OR r.source = :source)
  AND (CAST(:run_id AS int8) IS NULL OR r.run_id = :run_id)
ORDER BY r.reject_id LIMIT :limit

-- count --
SELECT count(*) FROM medmirror.reject AS r
WHERE (CAST(:everything AS bool) OR r.resolved_at IS NULL) AND (CAST(:source AS text) IS NULL OR r.source = :source)
  AND (CAST(:run_id AS int8) IS NULL OR r.run_id = :run_id)

-- show --
SELECT r.reject_id, r.source, r.feed, f.path, r.member, r.item, r.start_byte, r.end_byte, r.error, r.reason, r.attempts,
       r.first_failed_at, r.last_failed_at, r.resolved_at, r.run_id, r.raw_complete, r.context, r.raw
FROM medmirror.reject AS r JOIN medmirror.file AS f USING (file_id)
WHERE r.reject_id = :reject_id

-- open --
SELECT r.reject_id, r.file_id, r.member, r.source, coalesce(r.item, 0) AS item, r.start_byte, r.end_byte, r.raw_complete,
       coalesce(r.context, '{}') AS context, f.path, f.beneath, f.digest, f.size, coalesce(f.run_id, 0) AS load
FROM medmirror.reject AS r JOIN medmirror.file AS f USING (file_id)
WHERE r.resolved_at IS NULL AND (CAST(:source AS text) IS NULL OR r.source = :source)
  AND (CAST(:reject_ids AS int8[]) IS NULL OR r.reject_id = ANY(CAST(:reject_ids AS int8[])))
ORDER BY r.file_id, r.member, r.raw_complete, r.start_byte, r.end_byte

-- raw --
SELECT raw FROM medmirror.reject WHERE reject_id = :reject_id

-- outcome --
-- What a run made of a span: the rejects that are open now within it, the one that was tried first.
SELECT error, reason
FROM medmirror.reject
WHERE run_id = :run_id AND file_id = :file_id AND member = :member AND start_byte >= :start_byte AND end_byte <= :end_byte
ORDER BY start_byte, end_byte DESC LIMIT 1
