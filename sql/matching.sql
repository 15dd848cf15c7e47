-- Which records are the same person: what was found, what was decided, on which evidence; and the canonical ids that follow
-- from it. matching/run.py writes what splink found, matching/decisions.py what people say of it.

-- migrate 1 --
CREATE TABLE medmirror.match (
    match_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id text NOT NULL,
    entity text NOT NULL,
    left_source text NOT NULL,
    left_feed text NOT NULL,
    left_id text NOT NULL,
    right_source text NOT NULL,
    right_feed text NOT NULL,
    right_id text NOT NULL,
    probability float8,
    weight float8,
    evidence jsonb NOT NULL,
    grade text NOT NULL CHECK (grade IN ('identifier', 'model', 'user')),
    status text NOT NULL CHECK (status IN ('joined', 'review', 'rejected', 'undone')),
    decided_by text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text,
    run_id bigint REFERENCES medmirror.run ON DELETE SET NULL,
    UNIQUE (organization_id, entity, left_source, left_feed, left_id, right_source, right_feed, right_id),
    -- Order by bytes, as whoever writes them orders, whatever the database's collation.
    CHECK ((left_source COLLATE "C", left_feed COLLATE "C", left_id COLLATE "C")
           < (right_source COLLATE "C", right_feed COLLATE "C", right_id COLLATE "C"))
);
COMMENT ON TABLE medmirror.match IS 'One row a pair of records of an organisation that are, may be or are not the same person.';
COMMENT ON COLUMN medmirror.match.left_source IS 'the smaller of the two keys, as in medmirror.sync_mapping';
COMMENT ON COLUMN medmirror.match.probability IS 'that both are one person, as the model has it';
COMMENT ON COLUMN medmirror.match.weight IS 'the same in bits: log2 of the odds';
COMMENT ON COLUMN medmirror.match.evidence IS
    'fields: level, word and bits for each; held: what kept the pair from being joined; deleted: which of the two. No value of a record';
COMMENT ON COLUMN medmirror.match.grade IS 'what the status rests on: identifier, model, or a user''s word';
COMMENT ON COLUMN medmirror.match.status IS
    'joined; review: waits for a person; rejected: not the same, a person said; undone: was joined or proposed, and is no more';
COMMENT ON COLUMN medmirror.match.decided_by IS 'a user''s name, or `medmirror dedup`';
CREATE INDEX match_right ON medmirror.match (organization_id, entity, right_source, right_feed, right_id);
CREATE INDEX match_status ON medmirror.match (status, organization_id, entity);
SELECT medmirror.wall_off('medmirror.match');

CREATE TABLE medmirror.match_decision (
    decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    match_id bigint NOT NULL REFERENCES medmirror.match ON DELETE CASCADE,
    organization_id text NOT NULL,
    probability float8,
    weight float8,
    evidence jsonb NOT NULL,
    grade text NOT NULL,
    status text NOT NULL,
    decided_by text NOT NULL,
    decided_at timestamptz NOT NULL,
    reason text,
    run_id bigint
);
COMMENT ON TABLE medmirror.match_decision IS 'Every decision on a pair that there ever was, in order; the last one stands in medmirror.match.';
CREATE INDEX ON medmirror.match_decision (match_id);
SELECT medmirror.wall_off('medmirror.match_decision');

CREATE FUNCTION medmirror.keep_decision() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    INSERT INTO medmirror.match_decision
      (match_id, organization_id, probability, weight, evidence, grade, status, decided_by, decided_at, reason, run_id)
    SELECT match_id, organization_id, probability, weight, evidence, grade, status, decided_by, decided_at, reason, run_id
    FROM fresh ORDER BY match_id;
    RETURN NULL;
END
$body$;
CREATE TRIGGER keep_decision_made AFTER INSERT ON medmirror.match
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION medmirror.keep_decision();
CREATE TRIGGER keep_decision_changed AFTER UPDATE ON medmirror.match
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION medmirror.keep_decision();

CREATE TABLE medmirror.match_seen (
    organization_id text NOT NULL,
    entity text NOT NULL,
    source text NOT NULL,
    feed text NOT NULL,
    source_id text NOT NULL,
    canonical_hash bytea NOT NULL,
    model bytea NOT NULL,
    PRIMARY KEY (organization_id, entity, source, feed, source_id)
);
COMMENT ON TABLE medmirror.match_seen IS 'Which content of each record was compared last; what differs from it is compared again.';
COMMENT ON COLUMN medmirror.match_seen.model IS 'digest of the model and thresholds that it was compared by';
SELECT medmirror.wall_off('medmirror.match_seen');

CREATE TABLE medmirror.match_model (
    organization_id text NOT NULL,
    entity text NOT NULL,
    figures jsonb NOT NULL,
    run_id bigint REFERENCES medmirror.run ON DELETE SET NULL,
    trained_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, entity)
);
COMMENT ON TABLE medmirror.match_model IS 'Figures that were trained on an organisation''s own records; without a row, those that medmirror brings.';
COMMENT ON COLUMN medmirror.match_model.figures IS 'm and u by "field.level"';
SELECT medmirror.wall_off('medmirror.match_model');

-- enter --
-- Within one organisation, and the database sees to it.
SELECT set_config('medmirror.organization', :organization, true)

-- organizations --
SELECT DISTINCT organization_id FROM medmirror.sync_mapping
WHERE entity = ANY (:entities) AND (CAST(:organizations AS text[]) IS NULL OR organization_id = ANY (CAST(:organizations AS text[])))
ORDER BY 1

-- figures --
SELECT figures FROM medmirror.match_model WHERE organization_id = :organization AND entity = :entity

-- keep figures --
INSERT INTO medmirror.match_model (organization_id, entity, figures, run_id)
VALUES (:organization, :entity, CAST(:figures AS jsonb), :run_id)
ON CONFLICT (organization_id, entity) DO UPDATE
SET figures = excluded.figures, run_id = excluded.run_id, trained_at = excluded.trained_at

-- forget figures --
DELETE FROM medmirror.match_model WHERE organization_id = :organization AND entity = :entity

-- input --
-- Taken before the records themselves are read: one that changes in between is read as it is then, and told as changed
-- again the next time.
CREATE TEMP TABLE match_input ON COMMIT DROP AS
SELECT m.source, m.feed, m.source_id, m.own_id, m.canonical_hash, m.state = 'deleted' AS gone,
       CAST(:everything AS boolean) OR (s.canonical_hash, s.model) IS DISTINCT FROM (m.canonical_hash, CAST(:model AS bytea)) AS changed
FROM medmirror.sync_mapping AS m
LEFT JOIN medmirror.match_seen AS s
  ON (s.organization_id, s.entity, s.source, s.feed, s.source_id) = (m.organization_id, m.entity, m.source, m.feed, m.source_id)
WHERE m.organization_id = :organization AND m.entity = :entity AND m.canonical_hash IS NOT NULL

-- index input --
CREATE UNIQUE INDEX ON match_input (source, feed, source_id)

-- analyze input --
ANALYZE match_input

-- spread --
-- What is tied to a changed record is judged again with it, and so on: a group is judged as a whole. Records that are no
-- more there have changed, too.
WITH RECURSIVE tie AS MATERIALIZED (
    SELECT left_source AS a1, left_feed AS a2, left_id AS a3, right_source AS b1, right_feed AS b2, right_id AS b3
    FROM medmirror.match WHERE organization_id = :organization AND entity = :entity AND status IN ('joined', 'review')
    UNION ALL
    SELECT right_source, right_feed, right_id, left_source, left_feed, left_id
    FROM medmirror.match WHERE organization_id = :organization AND entity = :entity AND status IN ('joined', 'review')
),
touched AS (
    SELECT DISTINCT t.a1, t.a2, t.a3
    FROM tie AS t LEFT JOIN match_input AS i ON (i.source, i.feed, i.source_id) = (t.a1, t.a2, t.a3)
    WHERE coalesce(i.changed, true)
    UNION
    SELECT t.b1, t.b2, t.b3 FROM touched JOIN tie AS t USING (a1, a2, a3)
)
UPDATE match_input AS i SET changed = true
FROM touched AS t
WHERE NOT i.changed AND (i.source, i.feed, i.source_id) = (t.a1, t.a2, t.a3)

-- input size --
SELECT count(*) AS records, count(*) FILTER (WHERE changed) AS changed FROM match_input

-- read patient --
COPY (
    SELECT i.source, i.feed, i.source_id, i.changed, i.gone, r.record -> 'names', r.record ->> 'birth_date',
           r.record -> 'sex' ->> 'code', r.record -> 'phones', r.record -> 'emails', r.record -> 'addresses',
           r.record -> 'identifiers', r.record -> 'extra' ->> 'medicare_reference_number',
           (r.record -> 'merged_into' ->> 'feed') || chr(31) || (r.record -> 'merged_into' ->> 'id'), r.record -> 'replaces'
    FROM match_input AS i JOIN canonical.record AS r USING (source, feed, source_id)
    WHERE r.entity = 'patient' AND r.organization_id = (SELECT medmirror.organization())
) TO STDOUT (FORMAT csv)

-- read practitioner --
-- A role of somebody is not another person.
COPY (
    SELECT i.source, i.feed, i.source_id, i.changed, i.gone, r.record -> 'names', r.record ->> 'birth_date',
           r.record -> 'gender' ->> 'code', r.record -> 'phones', r.record -> 'emails', r.record -> 'addresses',
           r.record -> 'identifiers', NULL, NULL, NULL
    FROM match_input AS i JOIN canonical.record AS r USING (source, feed, source_id)
    WHERE r.entity = 'practitioner' AND r.organization_id = (SELECT medmirror.organization()) AND r.record -> 'person' IS NULL
) TO STDOUT (FORMAT csv)

-- standing --
-- What holds whatever is compared now: people's word, and what was joined of records that have not changed.
SELECT m.left_source, m.left_feed, m.left_id, m.right_source, m.right_feed, m.right_id, m.status, m.grade,
       CASE WHEN m.status <> 'joined' THEN m.evidence END AS evidence,
       m.evidence #>> '{fields,merge,says}' = 'agree' AS merged
FROM medmirror.match AS m
LEFT JOIN match_input AS l ON (l.source, l.feed, l.source_id) = (m.left_source, m.left_feed, m.left_id)
LEFT JOIN match_input AS r ON (r.source, r.feed, r.source_id) = (m.right_source, m.right_feed, m.right_id)
WHERE m.organization_id = :organization AND m.entity = :entity
  AND (m.grade = 'user' OR m.status = 'joined' AND NOT l.changed AND NOT r.changed)

-- stage --
CREATE TEMP TABLE match_stage (
    left_source text, left_feed text, left_id text, right_source text, right_feed text, right_id text,
    probability float8, weight float8, evidence jsonb, grade text, status text
) ON COMMIT DROP

-- copy stage --
COPY match_stage FROM STDIN (FORMAT BINARY)

-- analyze stage --
ANALYZE match_stage

-- withdraw --
-- What was found before about a record that has changed, and is not found any more. A user's word stands.
UPDATE medmirror.match AS m
SET status = 'undone', decided_by = :by, decided_at = clock_timestamp(), reason = 'the records have changed', run_id = :run_id
WHERE m.organization_id = :organization AND m.entity = :entity AND m.grade <> 'user' AND m.status IN ('joined', 'review')
  AND (NOT EXISTS (SELECT FROM match_input AS i
                   WHERE (i.source, i.feed, i.source_id) = (m.left_source, m.left_feed, m.left_id) AND NOT i.changed)
       OR NOT EXISTS (SELECT FROM match_input AS i
                      WHERE (i.source, i.feed, i.source_id) = (m.right_source, m.right_feed, m.right_id) AND NOT i.changed))
  AND NOT EXISTS (
      SELECT FROM match_stage AS s
      WHERE (s.left_source, s.left_feed, s.left_id, s.right_source, s.right_feed, s.right_id)
          = (m.left_source, m.left_feed, m.left_id, m.right_source, m.right_feed, m.right_id))

-- hold --
-- Pairs that were joined before, and have come into a group that contradicts itself.
UPDATE medmirror.match AS m
SET status = 'review', evidence = jsonb_set(m.evidence, '{held}', m.evidence -> 'held' || to_jsonb(CAST(:why AS text))),
    decided_by = :by, decided_at = clock_timestamp(), reason = NULL, run_id = :run_id
FROM unnest(CAST(:left_source AS text[]), CAST(:left_feed AS text[]), CAST(:left_id AS text[]), CAST(:right_source AS text[]),
            CAST(:right_feed AS text[]), CAST(:right_id AS text[]))
     AS n(left_source, left_feed, left_id, right_source, right_feed, right_id)
WHERE m.organization_id = :organization AND m.entity = :entity
  AND (m.left_source, m.left_feed, m.left_id, m.right_source, m.right_feed, m.right_id)
    = (n.left_source, n.left_feed, n.left_id, n.right_source, n.right_feed, n.right_id)

-- decide --
-- On a pair that people said no to, only a proposal is staged (see deciding.py); what they joined is left alone.
INSERT INTO medmirror.match AS m
  (organization_id, entity, left_source, left_feed, left_id, right_source, right_feed, right_id, probability, weight, evidence,
   grade, status, decided_by, run_id)
SELECT :organization, :entity, s.left_source, s.left_feed, s.left_id, s.right_source, s.right_feed, s.right_id, s.probability,
       s.weight, s.evidence, s.grade, s.status, :by, :run_id
FROM match_stage AS s
ORDER BY s.left_source, s.left_feed, s.left_id, s.right_source, s.right_feed, s.right_id
ON CONFLICT (organization_id, entity, left_source, left_feed, left_id, right_source, right_feed, right_id) DO UPDATE
SET probability = excluded.probability, weight = excluded.weight, evidence = excluded.evidence, grade = excluded.grade,
    status = excluded.status, decided_by = excluded.decided_by, decided_at = clock_timestamp(), reason = NULL,
    run_id = excluded.run_id
WHERE NOT (m.grade = 'user' AND m.status = 'joined')
  AND (m.evidence, m.grade, m.status) IS DISTINCT FROM (excluded.evidence, excluded.grade, excluded.status)

-- remember --
INSERT INTO medmirror.match_seen AS s (organization_id, entity, source, feed, source_id, canonical_hash, model)
SELECT :organization, :entity, i.source, i.feed, i.source_id, i.canonical_hash, CAST(:model AS bytea)
FROM match_input AS i WHERE i.changed
ON CONFLICT (organization_id, entity, source, feed, source_id) DO UPDATE
SET canonical_hash = excluded.canonical_hash, model = excluded.model
WHERE (s.canonical_hash, s.model) IS DISTINCT FROM (excluded.canonical_hash, excluded.model)

-- forget --
DELETE FROM medmirror.match_seen AS s
WHERE s.organization_id = :organization AND s.entity = :entity
  AND NOT EXISTS (SELECT FROM match_input AS i WHERE (i.source, i.feed, i.source_id) = (s.source, s.feed, s.source_id))

-- joined --
SELECT left_source, left_feed, left_id, l.own_id AS left_own, right_source, right_feed, right_id, r.own_id AS right_own, match_id
FROM medmirror.match AS m
JOIN medmirror.sync_mapping AS l ON (l.organization_id, l.source, l.feed, l.source_id)
                                  = (m.organization_id, m.left_source, m.left_feed, m.left_id)
JOIN medmirror.sync_mapping AS r ON (r.organization_id, r.source, r.feed, r.source_id)
                                  = (m.organization_id, m.right_source, m.right_feed, m.right_id)
WHERE m.organization_id = :organization AND m.entity = :entity AND m.status = 'joined'

-- stage ids --
CREATE TEMP TABLE IF NOT EXISTS match_id_stage (source text, feed text, source_id text, canonical_id uuid) ON COMMIT DELETE ROWS

-- clear ids --
TRUNCATE match_id_stage

-- copy ids --
COPY match_id_stage FROM STDIN (FORMAT BINARY)

-- analyze ids --
ANALYZE match_id_stage

-- join --
UPDATE medmirror.sync_mapping AS m SET canonical_id = s.canonical_id
FROM match_id_stage AS s
WHERE m.organization_id = :organization AND (m.source, m.feed, m.source_id) = (s.source, s.feed, s.source_id)
  AND m.canonical_id <> s.canonical_id

-- part --
UPDATE medmirror.sync_mapping AS m SET canonical_id = m.own_id
WHERE m.organization_id = :organization AND m.entity = :entity AND m.canonical_id <> m.own_id
  AND NOT EXISTS (SELECT FROM match_id_stage AS s WHERE (s.source, s.feed, s.source_id) = (m.source, m.feed, m.source_id))

-- tally --
SELECT status, count(*) AS pairs FROM medmirror.match WHERE organization_id = :organization AND entity = :entity GROUP BY 1

-- list --
SELECT m.match_id, m.organization_id, m.entity, m.left_source, m.left_feed, m.left_id, m.right_source, m.right_feed, m.right_id,
       m.probability, m.weight, m.evidence, m.grade, m.status, m.decided_by, m.decided_at, m.reason, m.run_id
FROM medmirror.match AS m
WHERE (CAST(:organization AS text) IS NULL OR m.organization_id = :organization)
  AND (CAST(:entity AS text) IS NULL OR m.entity = :entity)
  AND (CAST(:status AS text) IS NULL OR m.status = :status)
ORDER BY m.probability DESC NULLS LAST, m.match_id LIMIT :limit

-- count --
SELECT count(*) FROM medmirror.match AS m
WHERE (CAST(:organization AS text) IS NULL OR m.organization_id = :organization)
  AND (CAST(:entity AS text) IS NULL OR m.entity = :entity)
  AND (CAST(:status AS text) IS NULL OR m.status = :status)

-- show --
SELECT * FROM medmirror.match WHERE match_id = ANY (CAST(:match_ids AS int8[])) ORDER BY match_id

-- lock --
SELECT * FROM medmirror.match WHERE match_id = ANY (CAST(:match_ids AS int8[])) ORDER BY match_id FOR UPDATE

-- history --
SELECT decided_at, decided_by, grade, status, probability, weight, reason, run_id
FROM medmirror.match_decision WHERE match_id = :match_id ORDER BY decision_id

-- values --
SELECT source, feed, source_id, record FROM canonical.record
WHERE entity = :entity AND organization_id = :organization
  AND (source, feed, source_id) IN ((:left_source, :left_feed, :left_id), (:right_source, :right_feed, :right_id))

-- say --
UPDATE medmirror.match
SET status = :status, grade = 'user', decided_by = :by, decided_at = clock_timestamp(), reason = :reason
WHERE match_id = ANY (CAST(:match_ids AS int8[]))

-- rejected --
SELECT match_id, left_source, left_feed, left_id, right_source, right_feed, right_id
FROM medmirror.match
WHERE organization_id = :organization AND entity = :entity AND grade = 'user' AND status IN ('rejected', 'undone')

-- identical --
-- Living records of {table} with the same content under different keys: one row a group, the largest first, with the number
-- of all groups and of the records in them. {cheap} follows from the content, so only records that share it are looked at
-- whole. Members named as identifiers, versions, links to itself and dates are taken out of {content}, at any depth.
WITH alike AS (
    SELECT md5(ROW({cheap})::text) AS cheap FROM {table} AS t WHERE NOT t.deleted GROUP BY 1 HAVING count(*) > 1
),
whole AS (
    SELECT ARRAY[{keys}] AS key, md5(replace(regexp_replace(({content})::text, {members}, '', 'g'), ', }}', '}}')) AS content
    FROM {table} AS t WHERE NOT t.deleted AND md5(ROW({cheap})::text) IN (SELECT cheap FROM alike)
),
found AS (
    SELECT count(*) AS members, (array_agg(key ORDER BY key))[1:{shown}] AS keys FROM whole GROUP BY content HAVING count(*) > 1
)
SELECT members, keys, count(*) OVER () AS groups, sum(members) OVER () AS all_members
FROM found ORDER BY members DESC, keys LIMIT :limit

-- living --
SELECT count(*) FROM {table} AS t WHERE NOT t.deleted

-- identical canonical --
-- The same of canonical records, each organisation for itself: all but identifiers is content, dates of birth and times too.
WITH whole AS (
    SELECT r.organization_id, ARRAY[r.source, r.feed, r.source_id] AS key,
           md5((r.record - '{{identifiers,extra,merged_into}}'::text[])::text) AS content
    FROM canonical.record AS r JOIN medmirror.sync_mapping AS m USING (organization_id, source, feed, source_id)
    WHERE r.entity = :entity AND m.state IN ('active', 'archived', 'missing')
      AND (CAST(:organization AS text) IS NULL OR r.organization_id = :organization)
      AND (CAST(:source AS text) IS NULL OR r.source = :source)
),
found AS (
    SELECT count(*) AS members, (array_agg(key ORDER BY key))[1:{shown}] AS keys
    FROM whole GROUP BY organization_id, content HAVING count(*) > 1
)
SELECT members, keys, count(*) OVER () AS groups, sum(members) OVER () AS all_members
FROM found ORDER BY members DESC, keys LIMIT :limit

-- living canonical --
SELECT count(*)
FROM canonical.record AS r JOIN medmirror.sync_mapping AS m USING (organization_id, source, feed, source_id)
WHERE r.entity = :entity AND m.state IN ('active', 'archived', 'missing')
  AND (CAST(:organization AS text) IS NULL OR r.organization_id = :organization)
  AND (CAST(:source AS text) IS NULL OR r.source = :source)
