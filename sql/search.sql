-- The statements of search.py. {search} is a feed's table of search vectors; {document} and {headline} are the source's
-- own SELECTs (sections `search FEED` and `headline FEED`).

-- make table --
CREATE TABLE IF NOT EXISTS {search} (
    {key_columns},
    digest bytea NOT NULL,
    document tsvector NOT NULL,
    PRIMARY KEY ({keys})
)

-- make index --
-- After the first records are in: building the index once is three times cheaper than growing it.
CREATE INDEX IF NOT EXISTS "{name}_search_document" ON {search} USING gin (document)

-- state --
SELECT run_id FROM medmirror.search WHERE source = :source AND feed = :feed

-- set state --
INSERT INTO medmirror.search (source, feed, run_id) VALUES (:source, :feed, :run_id)
ON CONFLICT (source, feed) DO UPDATE SET run_id = excluded.run_id, refreshed_at = clock_timestamp()

-- horizon --
-- Every run below this number has ended: what it wrote can be seen.
SELECT coalesce((SELECT min(run_id) FROM medmirror.run WHERE status = 'running' AND run_id <> :own),
                (SELECT max(run_id) + 1 FROM medmirror.run), 0)

-- behind --
SELECT {fact_keys}
FROM {fact} AS t LEFT JOIN {search} AS s USING ({keys})
WHERE t.run_id >= :since AND (s.digest IS DISTINCT FROM t.digest OR t.deleted)
  AND NOT (t.deleted AND s.digest IS NULL)
ORDER BY {keys}

-- drop changed --
DELETE FROM {search} AS t USING unnest({unnest}) AS n({keys}) WHERE {match}

-- add changed --
INSERT INTO {search} ({keys}, digest, document)
SELECT {fact_keys}, f.digest, t.document
FROM ({document}) AS t({keys}, document)
JOIN unnest({unnest}) AS n({keys}) USING ({keys})
JOIN {fact} AS f USING ({keys})
WHERE NOT f.deleted

-- find --
WITH q AS MATERIALIZED (SELECT websearch_to_tsquery('english', :query) AS query),
hits AS MATERIALIZED (
    SELECT {fact_keys}, ts_rank_cd(t.document, q.query, 32) AS rank
    FROM {search} AS t, q
    WHERE t.document @@ q.query
    ORDER BY rank DESC, {fact_keys}
    LIMIT :limit
)
SELECT {fact_keys}, h.title,
       ts_headline('english', coalesce(h.body, h.title, ''), q.query,
                   'MaxFragments=2, MinWords=8, MaxWords=22, StartSel=⟦, StopSel=⟧') AS snippet, t.rank
FROM hits AS t JOIN ({headline}) AS h({keys}, title, body) USING ({keys}), q
ORDER BY t.rank DESC, {keys}
