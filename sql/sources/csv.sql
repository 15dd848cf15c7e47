-- CSV exports of practice systems: one table of records of any kind, and its facts. What a record means is said by the
-- mapping files; the canonical tables hold that.

-- migrate 1 --
CREATE SCHEMA IF NOT EXISTS csv;
COMMENT ON SCHEMA csv IS 'CSV exports of practice systems, each described by a mapping file';

CREATE TABLE csv.record (
    organization_id text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    PRIMARY KEY (organization_id, kind, id)
);
COMMENT ON TABLE csv.record IS 'One row a record, the newest copy loaded';
COMMENT ON COLUMN csv.record.organization_id IS 'whose record it is; a session sees those of its own organisation only';
COMMENT ON COLUMN csv.record.kind IS 'the kind of record, as its mapping file calls it';
COMMENT ON COLUMN csv.record.id IS 'the columns of the key, joined by |; of a file without a key a digest of the row';
COMMENT ON COLUMN csv.record.deleted IS 'true: a tombstone; record is NULL';
COMMENT ON COLUMN csv.record.record IS 'header to cell, each as text as it stands in the file; null where nothing stands between two delimiters';

-- Narrow, and asked before anything is written: an unchanged record costs neither a lock nor WAL.
CREATE TABLE csv.record_fact (
    organization_id text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, kind, id)
);
COMMENT ON TABLE csv.record_fact IS 'What the loader knows of each record without reading it';
COMMENT ON COLUMN csv.record_fact.version IS 'orders copies: microseconds of the column that the mapping file declares, or of the file''s own day, else 0';
COMMENT ON COLUMN csv.record_fact.run_id IS 'the run that last moved the version; see medmirror.run';
COMMENT ON COLUMN csv.record_fact.digest IS 'SHA-256 of the row''s bytes as they stand in the file';
CREATE INDEX record_fact_run ON csv.record_fact USING brin (run_id);

SELECT medmirror.wall_off('csv.record');
SELECT medmirror.wall_off('csv.record_fact');
SELECT medmirror.keep_digest('csv.record_fact');

-- migrate 2 --
-- What orders copies of one version: see ingest/order.py.
ALTER TABLE csv.record_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN csv.record_fact.tie IS 'orders copies of one version: for a deletion the highest number, else 0';
COMMENT ON COLUMN csv.record_fact.place IS 'orders copies of one version that nothing else orders: load, file, and place in the file';
