-- The nightly full sync: its runs and receipts, the plans that were made, and what whole passes did not show any more.

-- migrate 1 --
CREATE TABLE medmirror.nightly (
    run_id bigint PRIMARY KEY REFERENCES medmirror.run ON DELETE CASCADE,
    name text NOT NULL,
    nominal date NOT NULL,
    zone text NOT NULL,
    config_digest text NOT NULL,
    plan_digest text,
    through boolean NOT NULL DEFAULT false,
    receipt jsonb
);
COMMENT ON TABLE medmirror.nightly IS 'One row a run of a nightly, with its receipt; the row of the same number in medmirror.run has its times.';
COMMENT ON COLUMN medmirror.nightly.name IS 'which nightly: the name in its file';
COMMENT ON COLUMN medmirror.nightly.nominal IS 'the local date of the night that it was for';
COMMENT ON COLUMN medmirror.nightly.config_digest IS 'SHA-256 of the file and of the mapping files that it names';
COMMENT ON COLUMN medmirror.nightly.plan_digest IS 'the plan that was applied, if one was';
COMMENT ON COLUMN medmirror.nightly.through IS
    'it went through to its end, whatever came of the parts: the night is done. false: it was stopped or killed, and is taken up again';
COMMENT ON COLUMN medmirror.nightly.receipt IS 'what came of it; never a value of a record';
CREATE INDEX ON medmirror.nightly (name, nominal);

CREATE TABLE medmirror.nightly_plan (
    digest text PRIMARY KEY,
    name text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    basis jsonb NOT NULL,
    changes jsonb NOT NULL
);
COMMENT ON TABLE medmirror.nightly_plan IS 'What `medmirror nightly --plan` found would change.';
COMMENT ON COLUMN medmirror.nightly_plan.digest IS 'SHA-256 of basis';
COMMENT ON COLUMN medmirror.nightly_plan.basis IS 'digests of the configuration, of every input, and of the tables before';
COMMENT ON COLUMN medmirror.nightly_plan.changes IS 'counts a table; never a value of a record';

CREATE TABLE medmirror.whole_pass (
    organization_id text NOT NULL,
    source text NOT NULL,
    feed text NOT NULL,
    evidence bytea NOT NULL,
    run_id bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (organization_id, source, feed)
);
COMMENT ON TABLE medmirror.whole_pass IS
    'The last whole pass over a feed of an organisation: how far its deletions are known. A partial pass never moves it.';
COMMENT ON COLUMN medmirror.whole_pass.evidence IS
    'which files the pass saw, and of when: the same files again are the same pass, and confirm nothing';

-- last night --
SELECT max(nominal) FROM medmirror.nightly WHERE name = :name AND through

-- begin night --
INSERT INTO medmirror.nightly (run_id, name, nominal, zone, config_digest, plan_digest)
VALUES (:run_id, :name, :nominal, :zone, :config_digest, :plan_digest)

-- end night --
UPDATE medmirror.nightly SET through = :through, receipt = CAST(:receipt AS jsonb) WHERE run_id = :run_id

-- receipt --
SELECT receipt FROM medmirror.nightly WHERE run_id = :run_id

-- who runs --
SELECT r.run_id, r.host, r.pid, r.started_at FROM medmirror.nightly AS n JOIN medmirror.run AS r USING (run_id)
WHERE r.status = 'running' ORDER BY r.run_id DESC LIMIT 1

-- keep plan --
INSERT INTO medmirror.nightly_plan AS p (digest, name, basis, changes)
VALUES (:digest, :name, CAST(:basis AS jsonb), CAST(:changes AS jsonb))
ON CONFLICT (digest) DO UPDATE SET made_at = clock_timestamp(), changes = excluded.changes

-- plan --
SELECT basis, changes FROM medmirror.nightly_plan WHERE digest = :digest

-- first transaction --
-- Its number is taken after the snapshot: whatever has a higher one and can be seen is our own.
SELECT CAST(CAST(pg_current_xact_id() AS xid) AS text)

-- key columns --
SELECT array_agg(CAST(a.attname AS text) ORDER BY k.place) AS names,
       array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY k.place) AS types
FROM pg_catalog.pg_index AS i
CROSS JOIN LATERAL unnest(CAST(i.indkey AS int2[])) WITH ORDINALITY AS k(number, place)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = CAST(:relation AS regclass) AND i.indisprimary

-- written --
-- Rows of {relation} that this transaction wrote, savepoints and all.
SELECT {keys}, to_jsonb(t) - CAST(:without AS text[]) AS row
FROM {relation} AS t
WHERE age(t.xmin) <= age(CAST(CAST(:first AS text) AS xid))

-- rows --
SELECT {keys}, to_jsonb(t) - CAST(:without AS text[]) AS row
FROM {relation} AS t JOIN unnest({unnest}) AS n({names}) USING ({names})

-- size --
SELECT count(*) FROM {relation}

-- temporary tables --
SELECT CAST(c.relname AS text) FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = pg_my_temp_schema() AND c.relkind = 'r' ORDER BY 1
