-- Practice systems' own databases: one table for the rows of all of them, as JSON.

-- migrate 1 --
CREATE SCHEMA IF NOT EXISTS sql;
COMMENT ON SCHEMA sql IS 'Rows of practice systems'' own databases, as their mapping files name them';

CREATE TABLE sql.record (
    organization_id text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    PRIMARY KEY (organization_id, kind, id)
);
COMMENT ON TABLE sql.record IS 'One row a row of a practice system''s table, the newest copy read';
COMMENT ON COLUMN sql.record.kind IS 'what the mapping file calls the rows of that table';
COMMENT ON COLUMN sql.record.id IS 'the values of the row''s key columns, joined by |';
COMMENT ON COLUMN sql.record.deleted IS 'true: a tombstone; the record is NULL';
COMMENT ON COLUMN sql.record.record IS 'the row, by column; readers/databasetypes.py says what becomes of each SQL type';

-- Narrow, and asked before anything is written: an unchanged row costs neither a lock nor WAL.
CREATE TABLE sql.record_fact (
    organization_id text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, kind, id)
);
COMMENT ON TABLE sql.record_fact IS 'What the loader knows of each row without reading it';
COMMENT ON COLUMN sql.record_fact.version IS
    'orders copies: microseconds of the column that the mapping names as `updated`; 0 without one';
COMMENT ON COLUMN sql.record_fact.run_id IS 'the run that last moved the version; see medmirror.run';
COMMENT ON COLUMN sql.record_fact.digest IS 'SHA-256 of the row as JSON';
CREATE INDEX record_fact_run ON sql.record_fact USING brin (run_id);

SELECT medmirror.wall_off('sql.record');
SELECT medmirror.wall_off('sql.record_fact');
SELECT medmirror.keep_digest('sql.record_fact', named_by => 'kind');

-- migrate 2 --
-- What orders copies of one version: see ingest/order.py.
ALTER TABLE sql.record_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN sql.record_fact.tie IS 'orders copies of one version: not used here';
COMMENT ON COLUMN sql.record_fact.place IS 'orders copies of one version that nothing else orders: load, file, and place in the file';
