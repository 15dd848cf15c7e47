-- What every session of ours begins with (db/session.py) and what every transaction begins with (db/connect.py).

-- server process --
-- Asked before anything is set: qualified, for nobody knows yet whose search_path this is.
SELECT pg_catalog.pg_backend_pid()

-- search path --
-- First of all settings. No function or operator that somebody made in another schema can answer for Postgres' own then.
SET search_path = pg_catalog, pg_temp; SET statement_timeout = 0

-- settings --
-- What is as it should be is left alone: some of these only a superuser may set. What this version of Postgres does not
-- have is passed over. lz4, where this build has it: COPY into a staging table compresses there, and the mirror table
-- takes the value over as it is.
SELECT set_config(s.name, s.value, false)
FROM unnest(CAST(%s AS text[]), CAST(%s AS text[])) AS s(name, value)
WHERE current_setting(s.name, true) <> s.value
  AND (s.name <> 'default_toast_compression' OR EXISTS (
      SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)))

-- everybody --
-- Sets and takes no snapshot, so that a transaction may still be given one.
SET LOCAL medmirror.organization = '*'

-- one organization --
-- A role that is not there, or that this user may not take, is passed over: the walls hold for the owner, too. Since
-- Postgres 16 who makes a role is a member of it, and still may not take it: there SET is what is asked.
SELECT set_config('medmirror.organization', %s, true),
    CASE WHEN coalesce(pg_has_role(to_regrole('medmirror_loader'),
        CASE WHEN CAST(current_setting('server_version_num') AS int) < 160000 THEN 'MEMBER' ELSE 'SET' END), false)
    THEN set_config('role', 'medmirror_loader', true) END

-- role --
SELECT current_setting('role')

-- again everybody --
-- What `one organization` has set, undone within the same transaction.
SELECT set_config('role', %s, true), set_config('medmirror.organization', '*', true)

-- leave --
DISCARD ALL
