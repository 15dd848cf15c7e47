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

-- migrate 3 --
-- Organisations: clinics whose records stand in the same tables and must never meet. A walled table can be read and
-- written only for one organisation at a time, the one that the session is set to; its owner may ask for all ('*').
CREATE TABLE medmirror.membership (
    member name NOT NULL,
    organization_id text NOT NULL,
    PRIMARY KEY (member, organization_id)
);
COMMENT ON TABLE medmirror.membership IS 'Which roles may read which organisation''s records; the owner needs no row here.';

CREATE FUNCTION medmirror.is_owner() RETURNS boolean LANGUAGE sql STABLE AS $body$
    SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'medmirror'
$body$;

CREATE FUNCTION medmirror.organization() RETURNS text LANGUAGE sql STABLE AS $body$
    SELECT CASE WHEN current_user = 'medmirror_loader' OR medmirror.is_owner()
                THEN current_setting('medmirror.organization', true) END
$body$;
COMMENT ON FUNCTION medmirror.organization() IS
    'the organisation that a loader''s or the owner''s session is set to (medmirror.organization); NULL for anyone else';

CREATE FUNCTION medmirror.sees_all() RETURNS boolean LANGUAGE sql STABLE AS $body$
    SELECT current_setting('medmirror.organization', true) = '*' AND medmirror.is_owner()
$body$;
COMMENT ON FUNCTION medmirror.sees_all() IS 'whether this session is the owner''s and asked for all organisations';

CREATE FUNCTION medmirror.wall_off(target regclass) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    -- Each function stands in a subquery: it is asked once a statement, not once a row.
    EXECUTE format('CREATE POLICY medmirror_wall ON %s USING (organization_id = (SELECT medmirror.organization())'
                   ' OR (SELECT medmirror.sees_all()))', target);
    EXECUTE format('CREATE POLICY medmirror_member ON %s FOR SELECT USING (organization_id IN'
                   ' (SELECT m.organization_id FROM medmirror.membership AS m WHERE m.member = current_user))', target);
END
$body$;
COMMENT ON FUNCTION medmirror.wall_off(regclass) IS 'put row-level security on a table that has a column organization_id';

CREATE FUNCTION medmirror.show_safely(target regclass) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
    -- From version 15 on a view can ask with its reader's rights. Before, it asks with its owner's, who is walled off, too
    -- (FORCE), unless he is a superuser: then grant nobody such a view.
    IF CAST(current_setting('server_version_num') AS int) >= 150000 THEN
        EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', target);
    END IF;
END
$body$;
COMMENT ON FUNCTION medmirror.show_safely(regclass) IS 'have a view over walled tables ask with the rights of who reads it';

ALTER TABLE medmirror.chunk ADD COLUMN keys bytea;
COMMENT ON COLUMN medmirror.chunk.keys IS
    'of sources with organisations: 8 bytes a record seen, the first of sha256(feed, byte 31, id) as in medmirror.sync_mapping';
ALTER TABLE medmirror.file ADD COLUMN organization_id text;
COMMENT ON COLUMN medmirror.file.organization_id IS 'whose file it is; NULL for public sources';
ALTER TABLE medmirror.reject ADD COLUMN organization_id text;
COMMENT ON COLUMN medmirror.reject.organization_id IS 'whose record it is; NULL for public sources';
ALTER TABLE medmirror.reject ENABLE ROW LEVEL SECURITY;
ALTER TABLE medmirror.reject FORCE ROW LEVEL SECURITY;
CREATE POLICY medmirror_wall ON medmirror.reject USING (
    organization_id = (SELECT medmirror.organization()) OR (SELECT medmirror.sees_all())
    OR organization_id IS NULL AND current_user <> 'medmirror_loader');
CREATE POLICY medmirror_member ON medmirror.reject FOR SELECT USING (
    organization_id IN (SELECT m.organization_id FROM medmirror.membership AS m WHERE m.member = current_user));

-- migrate 4 --
-- What the walls ask. These run in the session of whoever reads, with a search_path of his choice: every name is qualified,
-- or a function or operator of his own would answer for ours.
CREATE OR REPLACE FUNCTION medmirror.is_owner() RETURNS boolean LANGUAGE sql STABLE AS $body$
    SELECT pg_catalog.pg_has_role(current_user, nspowner, 'USAGE')
    FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'medmirror'
$body$;

CREATE OR REPLACE FUNCTION medmirror.organization() RETURNS text LANGUAGE sql STABLE AS $body$
    SELECT CASE WHEN current_user OPERATOR(pg_catalog.=) 'medmirror_loader' OR medmirror.is_owner()
                THEN pg_catalog.current_setting('medmirror.organization', true) END
$body$;

CREATE OR REPLACE FUNCTION medmirror.sees_all() RETURNS boolean LANGUAGE sql STABLE AS $body$
    SELECT pg_catalog.current_setting('medmirror.organization', true) OPERATOR(pg_catalog.=) '*' AND medmirror.is_owner()
$body$;

-- migrate 5 --
-- What was in the same place before. By hash: a path may be longer than a B-tree takes.
CREATE INDEX file_path ON medmirror.file USING hash (path) WHERE organization_id IS NOT NULL;

-- migrate 6 --
-- Names of files and of a CSV's columns are a clinic's own business, too.
ALTER TABLE medmirror.file ENABLE ROW LEVEL SECURITY;
ALTER TABLE medmirror.file FORCE ROW LEVEL SECURITY;
CREATE POLICY medmirror_wall ON medmirror.file USING (
    organization_id IS NULL OR organization_id = (SELECT medmirror.organization()) OR (SELECT medmirror.sees_all()));
CREATE POLICY medmirror_member ON medmirror.file FOR SELECT USING (
    organization_id IN (SELECT m.organization_id FROM medmirror.membership AS m WHERE m.member = current_user));

-- And who can guess an id could ask a chunk's keys whether another clinic has it.
ALTER TABLE medmirror.chunk ENABLE ROW LEVEL SECURITY;
ALTER TABLE medmirror.chunk FORCE ROW LEVEL SECURITY;
CREATE POLICY medmirror_file ON medmirror.chunk USING (
    (SELECT medmirror.sees_all()) OR current_user = 'medmirror_loader'
    OR EXISTS (SELECT FROM medmirror.file AS f WHERE f.file_id = chunk.file_id));

-- migrate 7 --
-- A load of one organisation's records touches no other's ledger, and none of the public sources'.
DROP POLICY medmirror_wall ON medmirror.file;
CREATE POLICY medmirror_wall ON medmirror.file USING (
    organization_id = (SELECT medmirror.organization()) OR (SELECT medmirror.sees_all())
    OR organization_id IS NULL AND current_user <> 'medmirror_loader');
DROP POLICY medmirror_file ON medmirror.chunk;
CREATE POLICY medmirror_file ON medmirror.chunk USING (
    (SELECT medmirror.sees_all()) OR EXISTS (SELECT FROM medmirror.file AS f WHERE f.file_id = chunk.file_id));

-- Who is a member of which organisation is between him and the owner.
ALTER TABLE medmirror.membership ENABLE ROW LEVEL SECURITY;
CREATE POLICY medmirror_own ON medmirror.membership FOR SELECT USING (member = current_user);

-- roles --
-- Run after every migration, in the same transaction. medmirror_reader may read every mirror and the bookkeeping, but not
-- a reject's raw bytes, and of walled tables only the organisations in medmirror.membership. medmirror_loader is what a
-- load of an organisation's records becomes: it owns nothing, so it can pass no wall. A user who may not create roles
-- (most managed databases) goes on without: the walls hold for the owner, too.
-- Roles belong to the whole server: another database may be creating the same one at this moment.
DO $roles$
DECLARE
    wanted text;
    walled record;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['medmirror_reader', 'medmirror_loader'] LOOP
        IF to_regrole(wanted) IS NULL AND (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN
                NULL;
            END;
        END IF;
    END LOOP;
    IF to_regrole('medmirror_reader') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA medmirror TO medmirror_reader;
        GRANT SELECT ON medmirror.migration, medmirror.file, medmirror.chunk, medmirror.membership TO medmirror_reader;
        -- Not settings, counts and error: they name files, of any organisation.
        REVOKE SELECT ON medmirror.run FROM medmirror_reader;
        GRANT SELECT (run_id, command, source, started_at, finished_at, status, host, pid, version, seconds) ON medmirror.run
            TO medmirror_reader;
        GRANT SELECT (reject_id, file_id, member, source, feed, item, start_byte, end_byte, error, reason, raw_complete,
            context, run_id, first_failed_at, last_failed_at, attempts, resolved_at, organization_id) ON medmirror.reject
            TO medmirror_reader;
        FOR walled IN
            SELECT to_regclass(format('%I.%I', schemaname, tablename)) AS name
            FROM pg_policies
            WHERE policyname = 'medmirror_wall' AND schemaname = 'medmirror' AND tablename <> 'reject'
        LOOP
            EXECUTE format('GRANT SELECT ON %s TO medmirror_reader', walled.name);
        END LOOP;
    END IF;
    IF to_regrole('medmirror_loader') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA medmirror TO medmirror_loader;
        GRANT SELECT ON medmirror.membership, medmirror.migration TO medmirror_loader;
        REVOKE ALL ON medmirror.run, medmirror.file FROM medmirror_loader;
        GRANT SELECT (run_id, status) ON medmirror.run TO medmirror_loader;
        GRANT SELECT ON medmirror.file TO medmirror_loader;
        GRANT SELECT, INSERT, UPDATE ON medmirror.chunk, medmirror.reject TO medmirror_loader;
        FOR walled IN
            SELECT schemaname, to_regclass(format('%I.%I', schemaname, tablename)) AS name
            FROM pg_policies WHERE policyname = 'medmirror_wall' AND (schemaname, tablename) <> ('medmirror', 'file')
        LOOP
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO medmirror_loader', walled.schemaname);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO medmirror_loader', walled.name);
        END LOOP;
        BEGIN
            -- Since Postgres 16 who makes a role is a member of it, but may not take it until he has granted himself so.
            IF NOT pg_has_role(current_user, 'medmirror_loader',
                CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
                EXECUTE format('GRANT medmirror_loader TO %I', current_user);
            END IF;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;  -- the role is somebody else's: the owner loads, and FORCE walls him off
        END;
    END IF;
END
$roles$;

-- foreign schemas --
-- Of those names, the schemas that are there and are somebody else's. A superuser is a member of every role: for him only
-- his own are his own.
SELECT n.nspname, CAST(CAST(n.nspowner AS regrole) AS text) AS owner
FROM pg_namespace AS n JOIN pg_roles AS r ON r.rolname = current_user
WHERE n.nspname = ANY (CAST(:schemas AS text[])) AND n.nspowner <> r.oid AND (r.rolsuper OR NOT pg_has_role(n.nspowner, 'USAGE'))
ORDER BY 1

-- pinned functions --
-- What makes each function of ours that is not so yet independent of the search_path of whoever calls it. A function in
-- SQL is parsed once and for all, so that it can still become a part of the query that calls it; one in PL/pgSQL, and one
-- that calls itself (pg_dump could not write it down otherwise), brings its own search_path.
SELECT CASE
    WHEN l.lanname = 'sql' AND position(n.nspname || '.' || p.proname || '(' IN p.prosrc) = 0 THEN split_part(pg_get_functiondef(p.oid), 'AS $function$', 1) || 'BEGIN ATOMIC '
        || rtrim(p.prosrc, E'; \n') || E'\n; END'
    ELSE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', CAST(p.oid AS regprocedure)) END
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_language AS l ON l.oid = p.prolang
WHERE n.nspname = ANY (:schemas) AND p.prokind = 'f' AND l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c LIKE 'search\_path=%')
  AND pg_has_role(p.proowner, 'USAGE')
ORDER BY p.oid

-- readable --
-- Of those names, the ones that are there; the partitions of them (canonical.patient_record), and their views
-- (canonical.patient).
WITH relation AS (
    SELECT c.oid, c.relkind, n.nspname, c.relname, n.nspname || '.' || c.relname = ANY (CAST(:names AS text[])) AS named
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm')
), part AS (
    SELECT r.* FROM relation AS r JOIN pg_inherits AS i ON i.inhrelid = r.oid JOIN relation AS p ON p.oid = i.inhparent
    WHERE p.named
)
SELECT r.nspname, r.relname
FROM relation AS r
WHERE r.named OR r.oid IN (SELECT oid FROM part)
   OR r.relkind = 'v' AND (r.nspname, r.relname || '_record') IN (SELECT nspname, relname FROM part)
ORDER BY 1, 2

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
