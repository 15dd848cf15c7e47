-- The questions of verify/audit.py. Each gives one row for each thing that is wrong, at most :most of them, with the number of
-- all of them as `wrong`. {wide} and {fact} are a feed's tables, {keys} its key columns.

-- owner --
SELECT medmirror.is_owner()

-- size: chunks --
SELECT count(*) FROM medmirror.chunk

-- size: runs --
SELECT count(*) FROM medmirror.run WHERE status IN ('done', 'rejects') AND counts ? 'read'

-- size: files --
SELECT count(*) FROM medmirror.file WHERE status = 'done'

-- size: rejects --
SELECT count(*) FROM medmirror.reject

-- size: feed --
SELECT count(*) FROM {fact}

-- chunks --
SELECT f.path, c.member, c.start_byte, c.end_byte, c.run_id, c.read,
       c.inserted + c.updated + c.unchanged + c.duplicate + c.tombstoned + c.rejected + c.filtered AS accounted,
       count(*) OVER () AS wrong
FROM medmirror.chunk AS c JOIN medmirror.file AS f USING (file_id)
WHERE c.read <> c.inserted + c.updated + c.unchanged + c.duplicate + c.tombstoned + c.rejected + c.filtered
ORDER BY c.file_id, c.member, c.start_byte, c.run_id LIMIT :most

-- runs --
-- What a run said at its end, and what its chunks hold. A run that was cut short may not have heard of its last chunks. The
-- counts of a sync are also those of the loads that it made of its remote's files.
WITH held AS (
    SELECT run_id, sum(read) AS read, sum(inserted) AS inserted, sum(updated) AS updated, sum(unchanged) AS unchanged,
           sum(duplicate) AS duplicate, sum(tombstoned) AS tombstoned, sum(rejected) AS rejected, sum(filtered) AS filtered
    FROM medmirror.chunk GROUP BY run_id
),
own AS (
    SELECT run_id, run_id AS chunks_of FROM medmirror.run
    UNION ALL
    SELECT r.run_id, CAST(l.run_id AS int8)
    FROM medmirror.run AS r, jsonb_array_elements_text(r.counts -> 'loads') AS l(run_id)
)
SELECT r.run_id, n.name, CAST(r.counts ->> n.name AS int8) AS said, n.held, count(*) OVER () AS wrong
FROM medmirror.run AS r
LEFT JOIN (
    SELECT o.run_id, sum(h.read) AS read, sum(h.inserted) AS inserted, sum(h.updated) AS updated,
           sum(h.unchanged) AS unchanged, sum(h.duplicate) AS duplicate, sum(h.tombstoned) AS tombstoned,
           sum(h.rejected) AS rejected, sum(h.filtered) AS filtered
    FROM own AS o JOIN held AS h ON h.run_id = o.chunks_of GROUP BY o.run_id
) AS c USING (run_id),
LATERAL (VALUES ('read', coalesce(c.read, 0)), ('inserted', coalesce(c.inserted, 0)), ('updated', coalesce(c.updated, 0)),
                ('unchanged', coalesce(c.unchanged, 0)), ('duplicate', coalesce(c.duplicate, 0)),
                ('tombstoned', coalesce(c.tombstoned, 0)), ('rejected', coalesce(c.rejected, 0)),
                ('filtered', coalesce(c.filtered, 0))) AS n(name, held)
WHERE r.status IN ('done', 'rejects') AND r.counts ? n.name AND CAST(r.counts ->> n.name AS int8) <> n.held
ORDER BY r.run_id, n.name LIMIT :most

-- twice --
-- Bytes that one run read twice.
SELECT f.path, s.member, s.start_byte, s.run_id, s.reached, count(*) OVER () AS wrong
FROM (
    SELECT file_id, member, run_id, start_byte, end_byte,
           max(end_byte) OVER (PARTITION BY file_id, member, run_id ORDER BY start_byte, end_byte
                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM medmirror.chunk
) AS s JOIN medmirror.file AS f USING (file_id)
WHERE s.start_byte < s.reached
ORDER BY s.file_id, s.member, s.start_byte LIMIT :most

-- holes --
-- Bytes of a file called done that no run and no reject accounts for. Of a page of a remote the ledger knows the frame, and
-- each byte is either there or in a chunk. Of a file, what stands before the first record (a prolog, the facts about the
-- file) and the white space between two blocks of records belongs to none: :header and :between bytes.
WITH spans AS (
    SELECT file_id, member, start_byte, end_byte FROM medmirror.chunk
    UNION ALL
    SELECT file_id, member, start_byte, end_byte FROM medmirror.reject
    UNION ALL
    SELECT f.file_id, '', lower(p.span), upper(p.span) FROM medmirror.file AS f, unnest(f.frame) AS p(span)
),
steps AS (
    SELECT file_id, member, start_byte, end_byte,
           max(end_byte) OVER (PARTITION BY file_id, member ORDER BY start_byte, end_byte
                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM spans
),
ends AS (
    SELECT file_id, sum(reached) AS reached
    FROM (SELECT file_id, member, max(end_byte) AS reached FROM spans GROUP BY file_id, member) AS m
    GROUP BY file_id
),
wrong AS (
    SELECT s.file_id, s.member, coalesce(s.reached, 0) AS start_byte, s.start_byte AS end_byte
    FROM steps AS s JOIN medmirror.file AS f USING (file_id)
    WHERE s.start_byte - coalesce(s.reached, 0)
          > CASE WHEN f.frame IS NOT NULL THEN 0 WHEN s.reached IS NULL THEN :header ELSE :between END
    UNION ALL
    SELECT f.file_id, '', coalesce(e.reached, 0), f.bytes
    FROM medmirror.file AS f LEFT JOIN ends AS e USING (file_id) LEFT JOIN medmirror.run AS r USING (run_id)
    WHERE (f.bytes IS NULL OR f.bytes <> coalesce(e.reached, 0))
      AND NOT (f.frame IS NULL AND r.command IN ('sync', 'backfill') AND e.reached <= f.bytes)
)
SELECT f.path, w.member, w.start_byte, w.end_byte, count(*) OVER () AS wrong
FROM wrong AS w JOIN medmirror.file AS f USING (file_id)
WHERE f.status = 'done'
ORDER BY w.file_id, w.member, w.start_byte LIMIT :most

-- unframed --
-- Pages that an earlier version stored: it did not note what stands around their records.
SELECT count(*) FROM medmirror.file AS f JOIN medmirror.run AS r USING (run_id)
WHERE f.status = 'done' AND f.frame IS NULL AND r.command IN ('sync', 'backfill')

-- rejects --
-- Each failure adds one to a chunk's `rejected` and one to a reject's `attempts`.
SELECT f.path, coalesce(c.rejected, 0) AS counted, coalesce(j.attempts, 0) AS kept, count(*) OVER () AS wrong
FROM medmirror.file AS f
LEFT JOIN (SELECT file_id, sum(rejected) AS rejected FROM medmirror.chunk GROUP BY file_id) AS c USING (file_id)
LEFT JOIN (SELECT file_id, sum(attempts) AS attempts FROM medmirror.reject GROUP BY file_id) AS j USING (file_id)
WHERE coalesce(c.rejected, 0) <> coalesce(j.attempts, 0)
ORDER BY f.file_id LIMIT :most

-- open rejects --
-- A reject is open exactly as long as no later run has read its bytes, or a later pass over the same thing is done.
SELECT r.reject_id, f.path, r.resolved_at IS NULL AS open, count(*) OVER () AS wrong
FROM medmirror.reject AS r JOIN medmirror.file AS f USING (file_id)
WHERE (r.resolved_at IS NULL) = EXISTS (
    SELECT FROM medmirror.chunk AS c
    WHERE c.file_id = r.file_id AND c.member = r.member AND c.start_byte <= r.start_byte AND c.end_byte >= r.end_byte
      AND c.run_id > r.run_id
    UNION ALL
    SELECT FROM medmirror.file AS n
    WHERE f.size IS NULL AND n.source = f.source AND n.path = f.path AND n.file_id > f.file_id AND n.status = 'done'
      AND n.organization_id IS NOT DISTINCT FROM f.organization_id)
ORDER BY r.reject_id LIMIT :most

-- feed --
SELECT count(*) FILTER (WHERE w.deleted IS NULL) AS only_fact, count(*) FILTER (WHERE f.deleted IS NULL) AS only_wide,
       count(*) FILTER (WHERE w.deleted <> f.deleted) AS flags
FROM (SELECT {keys}, deleted FROM {wide}) AS w
FULL JOIN (SELECT {keys}, deleted FROM {fact}) AS f USING ({keys})
WHERE w.deleted IS DISTINCT FROM f.deleted

-- created --
SELECT coalesce(sum(c.created), 0)
FROM medmirror.chunk AS c JOIN medmirror.file AS f USING (file_id)
WHERE f.source = :source

-- unwalled --
-- Tables with organisations' records that anyone who may read them could read whole, and views that ask with their
-- owner's rights where the server knows another way.
SELECT n.nspname || '.' || c.relname AS name, c.relkind = 'v' AS view
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE (n.nspname = ANY (CAST(:schemas AS text[])) OR n.nspname || '.' || c.relname = ANY (CAST(:named AS text[])))
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped)
  AND CASE c.relkind
      WHEN 'v' THEN CAST(current_setting('server_version_num') AS int) >= 150000
          AND NOT 'security_invoker=true' = ANY (coalesce(c.reloptions, '{}'))
      WHEN 'r' THEN true
      WHEN 'p' THEN true
      ELSE false END
  AND (c.relkind = 'v' OR NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (
      SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid AND p.polname = 'medmirror_wall')))
ORDER BY 1

-- size: walled --
SELECT count(*)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE (n.nspname = ANY (CAST(:schemas AS text[])) OR n.nspname || '.' || c.relname = ANY (CAST(:named AS text[])))
  AND c.relkind IN ('r', 'p', 'v')
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped)

-- noted --
-- A feed's facts against what sync_mapping says of its records. {kind} is the kind in its key, or its name.
SELECT count(f.version) AS facts,
       count(*) FILTER (WHERE f.version IS NOT NULL AND m.version IS NULL) AS unnoted,
       count(*) FILTER (WHERE f.version <> m.version OR f.digest <> m.source_hash OR f.deleted AND NOT m.gone) AS stale,
       count(*) FILTER (WHERE f.version IS NULL AND m.version IS NOT NULL) AS orphans
FROM (SELECT {organization} AS organization_id, {kind} AS feed, {id} AS source_id, f.version, f.digest, f.deleted
      FROM {fact} AS f) AS f
FULL JOIN (SELECT organization_id, feed, source_id, version, source_hash, gone FROM medmirror.sync_mapping
           WHERE source = :source AND (CAST(:feed AS text) IS NULL OR feed = :feed)) AS m
    USING (organization_id, feed, source_id)

-- canonical --
SELECT coalesce(m.source, r.source) AS source, coalesce(m.feed, r.feed) AS feed,
       count(*) FILTER (WHERE r.source_id IS NULL) AS lost, count(*) FILTER (WHERE m.source_id IS NULL) AS orphans
FROM (SELECT entity, organization_id, source, feed, source_id FROM medmirror.sync_mapping
      WHERE canonical_hash IS NOT NULL) AS m
FULL JOIN canonical.record AS r USING (entity, organization_id, source, feed, source_id)
GROUP BY 1, 2
HAVING count(*) <> count(m.source_id) OR count(*) <> count(r.source_id)
ORDER BY 1, 2

-- size: canonical --
SELECT count(*) FROM canonical.record

-- nothing made --
-- Living records that a mapper makes nothing of.
SELECT source, feed, count(*) AS records FROM medmirror.sync_mapping
WHERE state = 'unmapped' AND mapping_digest IS NOT NULL
GROUP BY 1, 2 ORDER BY 1, 2

-- meanings --
SELECT m.organization_id, m.source, m.feed, m.canonical_hash, m.schema_version, CAST(r.record AS text) AS record
FROM canonical.record AS r
JOIN medmirror.sync_mapping AS m USING (organization_id, source, feed, source_id)
WHERE m.canonical_hash IS NOT NULL

-- unresolved --
SELECT n.source, n.feed, n.target, CAST(sum(n.times) AS bigint) AS times
FROM unnest(CAST(:organization AS text[]), CAST(:source AS text[]), CAST(:feed AS text[]), CAST(:target AS text[]),
            CAST(:id AS text[]), CAST(:times AS int8[])) AS n(organization_id, source, feed, target, id, times)
WHERE NOT EXISTS (
    SELECT FROM medmirror.sync_mapping AS m
    WHERE m.organization_id = n.organization_id AND m.source = n.source AND m.feed = n.target AND m.source_id = n.id)
GROUP BY 1, 2, 3
