-- What ingest/resources.py asks a server about itself.

-- backend --
SELECT pg_backend_pid() AS pid, current_database() AS database

-- wal --
SELECT CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS int8)

-- rewritten --
-- Each update and each deletion leaves one dead tuple. (n_dead_tup itself falls whenever autovacuum comes by.)
SELECT CAST(coalesce(sum(n_tup_upd + n_tup_del), 0) AS int8) FROM pg_stat_user_tables WHERE schemaname = ANY (:schemas)

-- others --
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
