-- Advisory locks that a session of its own holds; see db/sessionlock.py.

-- try 1 --
SELECT pg_try_advisory_lock(%s)

-- try 2 --
SELECT pg_try_advisory_lock(%s, %s)

-- let go 1 --
SELECT pg_advisory_unlock(%s)

-- let go 2 --
SELECT pg_advisory_unlock(%s, %s)

-- keep alive --
-- A machine that is gone says nothing: let the server ask, and free the lock within some twelve seconds.
SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false), set_config('idle_session_timeout', '0', false)
