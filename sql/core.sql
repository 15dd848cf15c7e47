-- The bookkeeping of medmirror: which bytes were loaded when, with which counts, and what could not be loaded.
-- A section `migrate N` is append-only: a change to a table is a new section, an applied one is never edited.

-- migrate 1 --
CREATE SCHEMA IF NOT EXISTS medmirror;
COMMENT ON SCHEMA medmirror IS 'medmirror: runs, files, chunks, rejects';

CREATE TABLE medmirror.migration (
    source text NOT NULL,
    number int NOT NULL CHECK (number > 0),
    digest bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, number)
);
COMMENT ON TABLE medmirror.migration IS 'Which sections `migrate N` of which sql file are applied.';
COMMENT ON COLUMN medmirror.migration.source IS 'core, or the name of a source';
COMMENT ON COLUMN medmirror.migration.digest IS 'SHA-256 of the section as it was applied; an edited one is refused';

CREATE TABLE medmirror.run (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command text NOT NULL,
    source text,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'rejects', 'failed', 'interrupted')),
    host text,
    pid int,
    version text,
    settings jsonb,
    counts jsonb,
    seconds float8,
    error text
);
COMMENT ON TABLE medmirror.run IS 'One row a command that changes the mirror: who, when, how, with which counts.';
COMMENT ON COLUMN medmirror.run.source IS 'the source that was named, or NULL when it was recognised from the files';
COMMENT ON COLUMN medmirror.run.status IS 'running, done, rejects (done, but some records could not be loaded), failed, interrupted';
COMMENT ON COLUMN medmirror.run.settings IS 'the settings of the run; never a password';
COMMENT ON COLUMN medmirror.run.counts IS 'the counts of the result, as `medmirror load --json` prints them';
COMMENT ON COLUMN medmirror.run.error IS 'class and message of the error that ended the run; never a value of a record';

CREATE TABLE medmirror.file (
    file_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    path text NOT NULL,
    size bigint,
    digest bytea NOT NULL,
    file_order text NOT NULL DEFAULT '',
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'done', 'refused')),
    bytes bigint,
    run_id bigint REFERENCES medmirror.run,
    refused_error text,
    refused_reason text,
    UNIQUE (source, digest, file_order)
);
COMMENT ON TABLE medmirror.file IS 'One row for the same bytes of the same source in the same place of its order.';
COMMENT ON COLUMN medmirror.file.path IS 'where the file was when it was last given';
COMMENT ON COLUMN medmirror.file.size IS 'bytes of the file as it lies on disk';
COMMENT ON COLUMN medmirror.file.digest IS 'SHA-256 of the file as it lies on disk';
COMMENT ON COLUMN medmirror.file.file_order IS
    'what orders this file among its source''s files; the same bytes under another name are another file';
COMMENT ON COLUMN medmirror.file.status IS 'open: begun, not all chunks done; done; refused: not what it claims to be';
COMMENT ON COLUMN medmirror.file.bytes IS 'decoded bytes (unpacked)';
COMMENT ON COLUMN medmirror.file.run_id IS 'the last run that touched it';
CREATE INDEX ON medmirror.file (run_id);
CREATE INDEX ON medmirror.file (source, status);

CREATE TABLE medmirror.chunk (
    file_id bigint NOT NULL REFERENCES medmirror.file ON DELETE CASCADE,
    member text NOT NULL DEFAULT '',
    start_byte bigint NOT NULL,
    end_byte bigint NOT NULL CHECK (end_byte >= start_byte),
    run_id bigint NOT NULL REFERENCES medmirror.run,
    read int NOT NULL DEFAULT 0,
    inserted int NOT NULL DEFAULT 0,
    updated int NOT NULL DEFAULT 0,
    unchanged int NOT NULL DEFAULT 0,
    duplicate int NOT NULL DEFAULT 0,
    tombstoned int NOT NULL DEFAULT 0,
    rejected int NOT NULL DEFAULT 0,
    filtered int NOT NULL DEFAULT 0,
    created int NOT NULL DEFAULT 0,
    seconds real,
    done_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (file_id, member, start_byte, end_byte, run_id)
);
COMMENT ON TABLE medmirror.chunk IS
    'One row a span of bytes that a run loaded. Written in the transaction that loaded it: a row here means that it is all there.';
COMMENT ON COLUMN medmirror.chunk.member IS 'the file within a zip; empty for any other file';
COMMENT ON COLUMN medmirror.chunk.start_byte IS 'offset in the decoded stream of the member';
COMMENT ON COLUMN medmirror.chunk.end_byte IS 'offset of the first byte after the span';
COMMENT ON COLUMN medmirror.chunk.read IS
    'items in the span = inserted + updated + unchanged + duplicate + tombstoned + rejected + filtered';
COMMENT ON COLUMN medmirror.chunk.filtered IS 'items that the user''s own filter left out';
COMMENT ON COLUMN medmirror.chunk.created IS 'keys new to the table: inserted, and tombstones of keys never seen';
COMMENT ON COLUMN medmirror.chunk.seconds IS 'from the beginning of the chunk to its commit';
CREATE INDEX ON medmirror.chunk (run_id);

CREATE TABLE medmirror.reject (
    reject_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file_id bigint NOT NULL REFERENCES medmirror.file ON DELETE CASCADE,
    member text NOT NULL DEFAULT '',
    source text NOT NULL,
    feed text,
    item bigint,
    start_byte bigint NOT NULL,
    end_byte bigint NOT NULL,
    error text NOT NULL,
    reason text NOT NULL,
    raw bytea,
    raw_complete boolean NOT NULL DEFAULT true,
    context jsonb,
    run_id bigint REFERENCES medmirror.run,
    first_failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts int NOT NULL DEFAULT 1,
    resolved_at timestamptz,
    UNIQUE (file_id, member, start_byte, end_byte)
);
COMMENT ON TABLE medmirror.reject IS 'One row an item that could not be loaded; `medmirror rejects retry` tries them again.';
COMMENT ON COLUMN medmirror.reject.item IS 'ordinal of the item in the decoded stream, from 0';
COMMENT ON COLUMN medmirror.reject.error IS 'class of the error, as in medmirror.errors';
COMMENT ON COLUMN medmirror.reject.reason IS 'what is wrong, in our own words; never a value of the record';
COMMENT ON COLUMN medmirror.reject.raw IS 'the item''s bytes; may hold what must not be read by everyone';
COMMENT ON COLUMN medmirror.reject.raw_complete IS 'false: raw is only the beginning, for the item was too large to keep';
COMMENT ON COLUMN medmirror.reject.context IS 'the facts about its file that the item needs to be read again';
COMMENT ON COLUMN medmirror.reject.resolved_at IS 'when a retry loaded it; NULL: still open';
CREATE INDEX ON medmirror.reject (source, error) WHERE resolved_at IS NULL;
CREATE INDEX ON medmirror.reject (run_id);
REVOKE ALL ON medmirror.reject FROM PUBLIC;

-- migrate 2 --
CREATE TABLE medmirror.search (
    source text NOT NULL,
    feed text NOT NULL,
    run_id bigint NOT NULL,
    refreshed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, feed)
);
COMMENT ON TABLE medmirror.search IS 'How far the search vectors of each feed are up to date.';
COMMENT ON COLUMN medmirror.search.run_id IS 'what runs below this number wrote is in the vectors';

-- roles --
-- Run after every migration, in the same transaction. medmirror_reader may read every mirror and the bookkeeping, but not
-- a reject's raw bytes. A user who may not create roles (most managed databases) goes on without: nothing needs the role.
-- Roles belong to the whole server: another database may be creating the same one at this moment.
DO $roles$
BEGIN
    IF to_regrole('medmirror_reader') IS NULL THEN
        IF NOT (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            RETURN;
        END IF;
        BEGIN
            CREATE ROLE medmirror_reader NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN
            NULL;
        END;
        IF to_regrole('medmirror_reader') IS NULL THEN
            RETURN;
        END IF;
    END IF;
    GRANT USAGE ON SCHEMA medmirror TO medmirror_reader;
    GRANT SELECT ON medmirror.migration, medmirror.run, medmirror.file, medmirror.chunk TO medmirror_reader;
    GRANT SELECT (reject_id, file_id, member, source, feed, item, start_byte, end_byte, error, reason, raw_complete, context,
        run_id, first_failed_at, last_failed_at, attempts, resolved_at) ON medmirror.reject TO medmirror_reader;
END
$roles$;

-- applied migrations --
SELECT source, number, digest FROM medmirror.migration

-- record migration --
INSERT INTO medmirror.migration (source, number, digest) VALUES (:source, :number, :digest)

-- wide columns --
-- Columns that Postgres may compress and that are not compressed with lz4, on a server that can.
SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
WHERE n.nspname = ANY (:schemas) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attstorage IN ('x', 'm') AND a.attcompression <> 'l'
  AND EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))
GROUP BY 1, 2 ORDER BY 1, 2
