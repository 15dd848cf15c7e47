-- The statements of ingest/remapstore.py: records that are stored but not mapped as they would be now. {fact} and {table} are a
-- feed's tables, {organization}, {kind} and {id} what its key says of a record f: whose it is, its kind, its id.

-- uncounted --
-- Tables of which Postgres knows nothing yet, or what was true of half of their rows: autovacuum comes minutes after a load.
SELECT n.nspname, c.relname
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (n.nspname || '.' || c.relname = ANY (CAST(:names AS text[])) OR n.nspname = 'canonical')
  AND pg_relation_size(c.oid) > 0
  AND (c.reltuples < 0 OR pg_stat_get_mod_since_analyze(c.oid) > 1000 + c.reltuples / 2)
ORDER BY 1, 2

-- units --
SELECT DISTINCT {organization} AS organization, {kind} AS kind
FROM {fact} AS f
WHERE CAST(:organization AS text) IS NULL OR {organization} = :organization
ORDER BY 1, 2

-- stale --
-- Some ids, in order, of one organisation's records of one kind. LIMIT 1 keeps the planner to one look in the index of
-- sync_mapping a record, whatever it thinks of the tables' sizes.
SELECT {id} AS id
FROM {fact} AS f
LEFT JOIN LATERAL (
    SELECT mapping_digest, source_hash, version, deleted_version FROM medmirror.sync_mapping AS m
    WHERE m.organization_id = :organization AND m.source = :source AND m.feed = :kind AND m.source_id = {id}
    LIMIT 1) AS m ON true
WHERE {organization} = :organization AND {kind} = :kind AND ({stale}) AND {beyond}
  AND (CAST(:since AS bigint) IS NULL OR f.run_id >= :since)
ORDER BY 1 LIMIT :most

-- stale: mapped --
m.mapping_digest IS DISTINCT FROM CAST(:digest AS bytea) OR m.source_hash IS DISTINCT FROM f.digest
OR m.version IS DISTINCT FROM f.version

-- stale: withheld --
m.mapping_digest IS DISTINCT FROM CAST(:digest AS bytea) OR m.source_hash IS DISTINCT FROM f.digest
OR m.version IS DISTINCT FROM f.version
OR EXISTS (SELECT FROM medmirror.withheld AS h
           WHERE h.organization_id = :organization AND h.source = :source AND h.feed = :kind AND h.source_id = {id})

-- stale: no mapper --
m.version IS NULL

-- stale: deletions --
NOT f.deleted AND (m.deleted_version IS NULL OR m.deleted_version < f.version)

-- stale: all --
true

-- beyond: nothing --
true

-- beyond: id --
{id} > :after

-- lock --
SELECT 1 FROM {fact} AS f
WHERE {organization} = :organization AND {kind} = :kind AND {id} = ANY (CAST(:ids AS text[]))
ORDER BY {id} FOR UPDATE OF f

-- read --
SELECT {id} AS id, f.version, f.digest, f.deleted, CAST(w.{document} AS text) AS document, {place} AS place,
       m.entity, m.version AS mapped_version, m.source_hash, m.canonical_hash, m.mapping_digest, m.schema_version, m.gone,
       m.archived
FROM {fact} AS f
JOIN {table} AS w USING ({keys})
LEFT JOIN medmirror.sync_mapping AS m
    ON m.organization_id = :organization AND m.source = :source AND m.feed = :kind AND m.source_id = {id}
WHERE {organization} = :organization AND {kind} = :kind AND {id} = ANY (CAST(:ids AS text[]))
ORDER BY {id}

-- touch --
UPDATE medmirror.sync_mapping AS m SET mapping_digest = :digest
WHERE m.organization_id = :organization AND m.source = :source AND m.feed = :kind AND m.source_id = ANY (CAST(:ids AS text[]))
  AND m.mapping_digest IS DISTINCT FROM CAST(:digest AS bytea)

-- written --
SELECT count(*) FILTER (WHERE state <> 'unmapped') AS mapped, count(*) FILTER (WHERE state = 'unmapped') AS unmapped
FROM medmirror.sync_mapping
WHERE organization_id = :organization AND source = :source AND feed = :kind AND source_id = ANY (CAST(:ids AS text[]))
  AND run_id = :run_id

-- left --
SELECT count(*) FROM medmirror.sync_mapping
WHERE organization_id = :organization AND source = :source AND feed = :kind AND mapping_digest IS NOT NULL
