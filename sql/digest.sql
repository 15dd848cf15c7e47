-- Set digests: of each table how many rows it holds and the sum of a hash of each, so that two tables hold the same exactly
-- when both agree, whatever order the rows came in. Triggers keep them up, so they are right whoever writes. A row's hash
-- is of its key and its content as text, joined by byte 31 (NULL: byte 30; bytea: hex): the first 8 bytes of SHA-256, as a
-- bigint. SHA-256 and not Postgres' own hash, which is faster by a microsecond a row but promised to nobody: digests of
-- two servers are compared, and kept in receipts.

-- migrate 1 --
CREATE TABLE medmirror.set_digest (
    relation text PRIMARY KEY,
    fixed_name text,
    name text NOT NULL,
    organization_id text NOT NULL,
    key text[] NOT NULL,
    key_hash text NOT NULL,
    row_hash text NOT NULL
);
COMMENT ON TABLE medmirror.set_digest IS 'Of which tables a set digest is kept, and how: SQL expressions over a row r.';
COMMENT ON COLUMN medmirror.set_digest.relation IS 'schema and table';
COMMENT ON COLUMN medmirror.set_digest.fixed_name IS 'what all rows count for: cliniko.patient; NULL: a column of theirs says it';
COMMENT ON COLUMN medmirror.set_digest.name IS 'what a row counts for';
COMMENT ON COLUMN medmirror.set_digest.organization_id IS 'whose the row is; an empty text in public tables';
COMMENT ON COLUMN medmirror.set_digest.key IS 'the key columns';

-- One row a statement, never updated: writers that meet do not wait for one another. medmirror.fold_digests() adds up.
CREATE TABLE medmirror.set_delta (
    delta_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation text NOT NULL,
    name text NOT NULL,
    organization_id text NOT NULL,
    rows bigint NOT NULL,
    sum numeric NOT NULL
);
COMMENT ON TABLE medmirror.set_delta IS 'What statements changed; all rows of a name together are its set digest.';
COMMENT ON COLUMN medmirror.set_delta.sum IS 'sum of the rows'' hashes, less those that went';

CREATE FUNCTION medmirror.recount_digest(target text)
RETURNS TABLE (name text, organization_id text, rows bigint, sum numeric) LANGUAGE plpgsql STABLE AS $body$
DECLARE
    one medmirror.set_digest;
BEGIN
    SELECT * INTO STRICT one FROM medmirror.set_digest AS d WHERE d.relation = target;
    RETURN QUERY EXECUTE format('SELECT %s, %s, count(*), sum(%s) FROM %s AS r GROUP BY 1, 2',
                                one.name, one.organization_id, one.row_hash, one.relation);
END
$body$;
COMMENT ON FUNCTION medmirror.recount_digest(text) IS 'the set digests of a table as its rows give them';

CREATE FUNCTION medmirror.rebook_digest(target text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- A SET clause would do, but on most servers only a superuser may write it.
    before text := current_setting('medmirror.organization', true);
BEGIN
    PERFORM set_config('medmirror.organization', '*', true);
    LOCK TABLE medmirror.set_delta IN SHARE UPDATE EXCLUSIVE MODE;  -- keeps out who replaces rows, not who adds some
    -- One statement, so one snapshot: a row of the table is seen exactly if what was booked of it is.
    WITH counted AS MATERIALIZED (SELECT * FROM medmirror.recount_digest(target)),
         gone AS (DELETE FROM medmirror.set_delta WHERE relation = target)
    INSERT INTO medmirror.set_delta (relation, name, organization_id, rows, sum)
    SELECT target, c.name, c.organization_id, c.rows, c.sum FROM counted AS c;
    PERFORM set_config('medmirror.organization', before, true);
END
$body$;
COMMENT ON FUNCTION medmirror.rebook_digest(text) IS 'book a table''s set digests anew from its rows, beside its writers';

CREATE FUNCTION medmirror.book_truncation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM medmirror.rebook_digest(TG_ARGV[0]);  -- not just forgotten: it may be one partition of several
    RETURN NULL;
END
$body$;

CREATE FUNCTION medmirror.fold_digests() RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE
    folded bigint;
BEGIN
    BEGIN
        LOCK TABLE medmirror.set_delta IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RETURN 0;  -- somebody else is at it; the digests are right as they are
    END;
    WITH gone AS (DELETE FROM medmirror.set_delta RETURNING *),
         kept AS (
             INSERT INTO medmirror.set_delta (relation, name, organization_id, rows, sum)
             SELECT g.relation, g.name, g.organization_id, sum(g.rows), sum(g.sum) FROM gone AS g GROUP BY 1, 2, 3
             HAVING sum(g.rows) <> 0 OR sum(g.sum) <> 0
             RETURNING 1)
    SELECT (SELECT count(*) FROM gone) - (SELECT count(*) FROM kept) INTO folded;
    RETURN folded;
END
$body$;
COMMENT ON FUNCTION medmirror.fold_digests() IS 'add up what is booked; return by how many rows the book became shorter';

CREATE FUNCTION medmirror.keep_digest(target regclass, content text[] DEFAULT ARRAY['digest', 'deleted'],
                                      named_by text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    one medmirror.set_digest;
    schema_name text;
    key_texts text;
    all_texts text;
    matched int;
    side text := 'SELECT %s AS name, %s AS organization_id, %scount(*) AS rows, %ssum(%s) AS sum FROM %s AS r GROUP BY 1, 2';
    came text;
    went text;
    body text;
    part regclass;
    event text;
    hash text := '(''x'' || encode(substr(sha256(convert_to(concat_ws(chr(31), %s), ''UTF8'')), 1, 8), ''hex''))::bit(64)::bigint';
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname), n.nspname, n.nspname || '.' || regexp_replace(c.relname, '_fact$', '')
    INTO one.relation, schema_name, one.fixed_name
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target;
    SELECT array_agg(a.attname::text ORDER BY k.place) INTO one.key
    FROM pg_catalog.pg_index AS i
    CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = target AND i.indisprimary;
    SELECT string_agg(t.value, ', ' ORDER BY w.place) FILTER (WHERE w.place <= cardinality(one.key)),
           string_agg(t.value, ', ' ORDER BY w.place), count(*)
    INTO key_texts, all_texts, matched
    FROM unnest(one.key || content) WITH ORDINALITY AS w(name, place)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = target AND a.attname = w.name AND NOT a.attisdropped
    CROSS JOIN LATERAL (SELECT format(CASE WHEN a.atttypid = 'bytea'::regtype THEN 'encode(r.%I, ''hex'')' ELSE 'r.%I::text' END,
                                      a.attname)) AS plain(value)
    CROSS JOIN LATERAL (SELECT CASE WHEN a.attnotnull THEN plain.value
                                    ELSE format('coalesce(%s, chr(30))', plain.value) END) AS t(value);
    IF one.key IS NULL OR matched <> cardinality(one.key || content) THEN
        RAISE EXCEPTION 'keep_digest: % has no primary key, or lacks one of the columns %', one.relation, content;
    END IF;
    one.key_hash := format(hash, key_texts);
    one.row_hash := format(hash, all_texts);
    one.name := format('%L::text', one.fixed_name);
    IF named_by IS NOT NULL THEN
        one.fixed_name := NULL;
        one.name := format('%L || r.%I', schema_name || '.', named_by);
    END IF;
    one.organization_id := CASE WHEN 'organization_id' = ANY (one.key) THEN 'r.organization_id' ELSE '''''::text' END;
    INSERT INTO medmirror.set_digest VALUES (one.*);
    -- A function for each table, for its statements are then planned once a session and not once a firing (a third of a
    -- millisecond). It runs as the tables' owner: a loader may write rows, but not what is booked of them.
    came := format(side, one.name, one.organization_id, '', '', one.row_hash, 'new_rows');
    went := format(side, one.name, one.organization_id, '-', '-', one.row_hash, 'old_rows');
    body := 'medmirror.' || quote_ident('book_' || replace(one.relation, '.', '_'));
    EXECUTE format($make$
        CREATE FUNCTION %1$s() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $book$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                INSERT INTO medmirror.set_delta (relation, name, organization_id, rows, sum) SELECT %2$L, s.* FROM (%3$s) AS s;
            ELSIF TG_OP = 'DELETE' THEN
                INSERT INTO medmirror.set_delta (relation, name, organization_id, rows, sum) SELECT %2$L, s.* FROM (%4$s) AS s;
            ELSIF EXISTS (SELECT FROM new_rows) THEN  -- mostly not: each INSERT .. ON CONFLICT comes here, too
                INSERT INTO medmirror.set_delta (relation, name, organization_id, rows, sum)
                SELECT %2$L, s.name, s.organization_id, sum(s.rows), sum(s.sum) FROM (%3$s UNION ALL %4$s) AS s
                GROUP BY 2, 3 HAVING sum(s.rows) <> 0 OR sum(s.sum) <> 0;
            END IF;
            RETURN NULL;
        END
        $book$$make$, body, one.relation, came, went);
    EXECUTE format('REVOKE ALL ON FUNCTION %s() FROM PUBLIC', body);
    -- A statement fires the triggers of the table that it names: of a partitioned one, or of one of its partitions.
    FOR part IN SELECT target UNION ALL SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = target LOOP
        FOREACH event IN ARRAY ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] LOOP
            EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION %s',
                           'medmirror_digest_' || lower(event), event, part,
                           CASE event WHEN 'INSERT' THEN 'REFERENCING NEW TABLE AS new_rows'
                                      WHEN 'UPDATE' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                                      WHEN 'DELETE' THEN 'REFERENCING OLD TABLE AS old_rows' ELSE '' END,
                           CASE event WHEN 'TRUNCATE' THEN format('medmirror.book_truncation(%L)', one.relation)
                                      ELSE body || '()' END);
        END LOOP;
    END LOOP;
    PERFORM medmirror.rebook_digest(one.relation);
END
$body$;
COMMENT ON FUNCTION medmirror.keep_digest(regclass, text[], text) IS
    'keep set digests of a table: hashed are its primary key and the content columns; named_by: a column that parts it';

-- Nobody else may have the owner run these.
REVOKE ALL ON FUNCTION medmirror.book_truncation(), medmirror.rebook_digest(text) FROM PUBLIC;

-- digests --
SELECT name, organization_id, CAST(sum(rows) AS bigint) AS rows, sum(sum) AS sum
FROM medmirror.set_delta
WHERE CAST(:organization AS text) IS NULL OR organization_id = :organization
GROUP BY 1, 2
HAVING sum(rows) <> 0 OR sum(sum) <> 0
ORDER BY 1, 2

-- digests of relation --
SELECT name, organization_id, CAST(sum(rows) AS bigint) AS rows, sum(sum) AS sum
FROM medmirror.set_delta
WHERE relation = :relation
GROUP BY 1, 2
HAVING sum(rows) <> 0 OR sum(sum) <> 0

-- relations --
SELECT relation, fixed_name, name, organization_id, key, key_hash, row_hash FROM medmirror.set_digest ORDER BY relation

-- recount --
SELECT c.name, c.organization_id, c.rows, c.sum FROM medmirror.recount_digest(:relation) AS c
WHERE CAST(:organization AS text) IS NULL OR c.organization_id = :organization
ORDER BY 1, 2

-- fold --
SELECT medmirror.fold_digests()

-- room --
-- Until the transaction ends: buckets are not to spill to disk.
SELECT set_config('work_mem', '64MB', true)

-- buckets --
-- The rows of a table parted by the first bits of their keys' hashes: where two mirrors agree on a bucket they agree on
-- all of its rows. What stands in braces is from medmirror.set_digest.
SELECT {key_hash} >> :shift AS bucket, count(*) AS rows, sum({row_hash}) AS sum
FROM {relation} AS r
WHERE {name} = :name
  AND (CAST(:organizations AS text[]) IS NULL OR {organization_id} = ANY (CAST(:organizations AS text[])))
GROUP BY 1

-- bucket rows --
SELECT {key_hash} AS key_hash, {row_hash} AS row_hash, ARRAY[{keys}] AS key
FROM {relation} AS r
WHERE {name} = :name
  AND (CAST(:organizations AS text[]) IS NULL OR {organization_id} = ANY (CAST(:organizations AS text[])))
  AND {key_hash} >> :shift = ANY (CAST(:buckets AS bigint[]))
ORDER BY 1
