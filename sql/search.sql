-- The statements of search/. {search} is a feed's table of search vectors; {document} and {headline} are the source's own
-- SELECTs (sections `search FEED` and `headline FEED`).

-- migrate 1 --
ALTER TABLE medmirror.search ADD COLUMN layout bytea;
COMMENT ON COLUMN medmirror.search.layout IS 'the form that all vectors have; NULL: that of a version before 0.3';

CREATE TABLE medmirror.search_flaw (
    source text NOT NULL,
    feed text NOT NULL,
    key text NOT NULL,
    kept text NOT NULL CHECK (kept IN ('first part', 'nothing')),
    sqlstate text,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, feed, key)
);
COMMENT ON TABLE medmirror.search_flaw IS 'Records whose whole text Postgres refused to index.';
COMMENT ON COLUMN medmirror.search_flaw.key IS 'the key''s columns, as a JSON list';
COMMENT ON COLUMN medmirror.search_flaw.kept IS 'what the record is found by: its first part, or nothing';
COMMENT ON COLUMN medmirror.search_flaw.sqlstate IS 'why';

-- The bodies are bound to the functions that they name now (SQL-standard bodies), whatever a session's search_path is.
CREATE FUNCTION medmirror.search_fold(words text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN octet_length(words) = length(words) THEN words ELSE
    translate(replace(replace(replace(replace(
        -- an exponent stays apart from its number: 10^6, not 106
        regexp_replace(normalize(regexp_replace(words, '([0-9])([⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻])', '\1^\2', 'g'), NFKD),
                       '[\u0300-\u036f]', '', 'g'),
        'ß', 'ss'), 'æ', 'ae'), 'Æ', 'AE'), 'œ', 'oe'), 'øØłŁđĐðı', 'oOlLdDdi') END;
COMMENT ON FUNCTION medmirror.search_fold(text) IS
    'words without accents, raised and lowered digits as plain ones: Müller as Muller, H₂O as H2O';

CREATE FUNCTION medmirror.search_vector(words text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector(CAST('pg_catalog.english' AS regconfig), concat_ws(' ', medmirror.search_fold(words),
    -- C_max is found as Cmax, too
    CASE WHEN strpos(words, '_') > 0 OR strpos(words, '^') > 0 THEN
        (SELECT string_agg(translate(m[1], '_^()', ''), ' ')
         FROM regexp_matches(words, '([[:alnum:]]+[_^][(]?[[:alpha:]][^[:space:]]*)', 'g') AS m) END));
COMMENT ON FUNCTION medmirror.search_vector(text) IS 'the vector of a text, folded as medmirror.search_query folds';

CREATE FUNCTION medmirror.search_query(words text) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN medmirror.search_fold(words) = words
            THEN websearch_to_tsquery(CAST('pg_catalog.english' AS regconfig), words)
            ELSE websearch_to_tsquery(CAST('pg_catalog.english' AS regconfig), words)
                 || websearch_to_tsquery(CAST('pg_catalog.english' AS regconfig), medmirror.search_fold(words)) END;
COMMENT ON FUNCTION medmirror.search_query(text) IS 'the query that `medmirror search` asks: with accents and without';

-- make table --
CREATE TABLE IF NOT EXISTS {search} (
    {key_columns},
    digest bytea NOT NULL,
    document tsvector NOT NULL,
    PRIMARY KEY ({keys})
)

-- grant --
-- This table is made outside of migrations, which grant the others.
DO $grant$
BEGIN
    IF to_regrole('medmirror_reader') IS NOT NULL THEN
        IF NOT has_table_privilege('medmirror_reader', '{search}', 'SELECT') THEN
            GRANT SELECT ON {search} TO medmirror_reader;
        END IF;
        IF NOT has_table_privilege('medmirror_reader', 'medmirror.search', 'SELECT') THEN
            GRANT SELECT ON medmirror.search TO medmirror_reader;
        END IF;
    END IF;
END
$grant$

-- size --
SELECT count(*) FROM (SELECT FROM {search} LIMIT :most) AS vectors

-- make index --
-- After the first records are in: building the index once is three times cheaper than growing it.
CREATE INDEX IF NOT EXISTS "{name}_search_document" ON {search} USING gin (document)

-- state --
SELECT run_id, layout FROM medmirror.search WHERE source = :source AND feed = :feed

-- set state --
INSERT INTO medmirror.search (source, feed, run_id, layout) VALUES (:source, :feed, :run_id, :layout)
ON CONFLICT (source, feed) DO UPDATE
SET run_id = excluded.run_id, layout = excluded.layout, refreshed_at = clock_timestamp()

-- horizon --
-- Every run below this number has ended: what it wrote can be seen.
SELECT coalesce((SELECT min(run_id) FROM medmirror.run WHERE status = 'running' AND run_id <> :own),
                (SELECT max(run_id) + 1 FROM medmirror.run), 0)

-- behind --
-- A vector's digest is that of its record, with the layout of the vector behind it.
SELECT {fact_keys}
FROM {fact} AS t LEFT JOIN {search} AS s USING ({keys})
WHERE t.run_id >= :since
  AND (t.deleted OR s.digest IS NULL OR substring(s.digest FOR length(t.digest)) <> t.digest
       OR (:renew AND s.digest <> t.digest || CAST(:layout AS bytea)))
  AND NOT (t.deleted AND s.digest IS NULL)
ORDER BY {keys} LIMIT :page

-- behind after --
SELECT {fact_keys}
FROM {fact} AS t
LEFT JOIN (SELECT {keys}, digest FROM {search} WHERE ({keys}) > ({last})) AS s USING ({keys})  -- each page reads its own
WHERE t.run_id >= :since
  AND (t.deleted OR s.digest IS NULL OR substring(s.digest FOR length(t.digest)) <> t.digest
       OR (:renew AND s.digest <> t.digest || CAST(:layout AS bytea)))
  AND NOT (t.deleted AND s.digest IS NULL)
  AND ({fact_keys}) > ({last})
ORDER BY {keys} LIMIT :page

-- drop changed --
DELETE FROM {search} AS t USING unnest({unnest}) AS n({keys}) WHERE {match}

-- add changed --
INSERT INTO {search} ({keys}, digest, document)
SELECT {fact_keys}, f.digest || CAST(:layout AS bytea), t.document
FROM ({document}) AS t({keys}, document)
JOIN unnest({unnest}) AS n({keys}) USING ({keys})
JOIN {fact} AS f USING ({keys})
WHERE NOT f.deleted

-- add first part --
INSERT INTO {search} ({keys}, digest, document)
SELECT {fact_keys}, f.digest || CAST(:layout AS bytea),
       setweight(medmirror.search_vector(left(t.title, 2000)), 'A')
       || setweight(medmirror.search_vector(left(t.body, 20000)), 'C')
FROM ({headline}) AS t({keys}, title, body)
JOIN unnest({unnest}) AS n({keys}) USING ({keys})
JOIN {fact} AS f USING ({keys})
WHERE NOT f.deleted

-- add nothing --
INSERT INTO {search} ({keys}, digest, document)
SELECT {fact_keys}, t.digest || CAST(:layout AS bytea), CAST('' AS tsvector)
FROM {fact} AS t JOIN unnest({unnest}) AS n({keys}) USING ({keys})
WHERE NOT t.deleted

-- note flaw --
INSERT INTO medmirror.search_flaw (source, feed, key, kept, sqlstate)
SELECT :source, :feed, key, :kept, :sqlstate FROM unnest(CAST(:names AS text[])) AS n(key)
ON CONFLICT (source, feed, key) DO UPDATE
SET kept = excluded.kept, sqlstate = excluded.sqlstate, noted_at = excluded.noted_at

-- forget flaws --
DELETE FROM medmirror.search_flaw WHERE source = :source AND feed = :feed AND key = ANY (CAST(:names AS text[]))

-- flaws --
SELECT kept, count(*) AS records FROM medmirror.search_flaw WHERE source = ANY (CAST(:sources AS text[])) GROUP BY kept

-- words --
SELECT numnode(medmirror.search_query(:query))

-- find --
-- :exact is the query as the lexeme of an identifier, which a source puts into its documents behind an equals sign.
WITH q AS MATERIALIZED (SELECT medmirror.search_query(:query) || coalesce(CAST(:exact AS tsquery), CAST('' AS tsquery)) AS query,
                               coalesce(CAST(:exact AS tsquery), CAST('' AS tsquery)) AS exact),
hits AS MATERIALIZED (
    SELECT {fact_keys}, CASE WHEN t.document @@ q.exact THEN 1 ELSE ts_rank_cd(t.document, q.query, 32) END AS rank
    FROM {search} AS t, q
    WHERE t.document @@ q.query
    ORDER BY rank DESC, {fact_keys}
    LIMIT :limit
)
SELECT {fact_keys}, h.title,
       ts_headline('english', left(coalesce(h.body, h.title, ''), 100000), q.query,
                   'MaxFragments=2, MinWords=8, MaxWords=22, StartSel=⟦, StopSel=⟧') AS snippet, t.rank
FROM hits AS t JOIN ({headline}) AS h({keys}, title, body) USING ({keys}), q
ORDER BY t.rank DESC, {keys}
