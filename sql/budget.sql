-- How many requests a remote's key may still make, and whether the remote is left alone because it fails. Both are known by
-- a digest of the remote's host and of the NAME of its secret, so that all processes and machines share them.

-- migrate 1 --
CREATE TABLE medmirror.rate_key (
    key text PRIMARY KEY,
    remote text NOT NULL,
    held_until timestamptz
);
COMMENT ON TABLE medmirror.rate_key IS 'One row a key of a remote; its lock is that of its windows.';
COMMENT ON COLUMN medmirror.rate_key.remote IS 'kind and host, for people';
COMMENT ON COLUMN medmirror.rate_key.held_until IS 'the remote asked to be left alone until then';

CREATE TABLE medmirror.rate_window (
    key text NOT NULL REFERENCES medmirror.rate_key ON DELETE CASCADE,
    seconds int NOT NULL CHECK (seconds > 0),
    head bigint NOT NULL,
    used int[] NOT NULL,
    PRIMARY KEY (key, seconds)
) WITH (fillfactor = 50);
COMMENT ON TABLE medmirror.rate_window IS 'Permits given in the last window, counted in sixtieths of it.';
COMMENT ON COLUMN medmirror.rate_window.head IS 'number of the newest sixtieth, counted from 1970';
COMMENT ON COLUMN medmirror.rate_window.used IS 'permits given in it and in the 61 before, the newest first';

-- A window may begin anywhere, so as long as it lasts it touches 61 sixtieths. 62 are counted: a request that arrives up to
-- a sixtieth later than its permit was given (network, a busy process) still finds a window with room for it.
CREATE FUNCTION medmirror.take_permit(
    the_key text, the_remote text, limits int[], lengths int[], share float8, given timestamptz
) RETURNS float8 LANGUAGE plpgsql AS $body$
DECLARE
    kept CONSTANT int := 62;
    held timestamptz;
    epoch float8;
    wait float8 := 0;
    width float8;
    allowed int;
    freed int;
    place int;
    old record;
    step bigint;
    counts int[];
    heads bigint[] := '{}';
    number bigint;
    every_count int[][] := '{}';
BEGIN
    SELECT k.held_until INTO held FROM medmirror.rate_key AS k WHERE k.key = the_key FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO medmirror.rate_key (key, remote) VALUES (the_key, the_remote) ON CONFLICT (key) DO NOTHING;
        SELECT k.held_until INTO held FROM medmirror.rate_key AS k WHERE k.key = the_key FOR UPDATE;
    END IF;
    -- The clock is read under the lock: who comes later has the later time. And each statement below sees what was
    -- committed before it, not before the wait for the lock.
    epoch := extract(epoch FROM coalesce(given, clock_timestamp()));
    wait := greatest(0, coalesce(extract(epoch FROM held), 0) - epoch);
    FOR i IN 1 .. cardinality(limits) LOOP
        width := lengths[i] / 60.0;
        number := floor(epoch / width);
        SELECT w.head, w.used INTO old FROM medmirror.rate_window AS w WHERE w.key = the_key AND w.seconds = lengths[i];
        step := number - old.head;
        IF step IS NULL OR step >= kept THEN
            counts := array_fill(0, ARRAY[kept]);
        ELSIF step > 0 THEN
            counts := array_fill(0, ARRAY[CAST(step AS int)]) || old.used[1:kept - step];
        ELSE
            -- A clock that was set back forgets nothing early. Set back by more than a window, it does not have everybody
            -- wait until it has caught up, either.
            counts := old.used;
            IF step > -kept THEN
                number := old.head;
            ELSE
                UPDATE medmirror.rate_window AS w SET head = number WHERE w.key = the_key AND w.seconds = lengths[i];
            END IF;
        END IF;
        allowed := greatest(1, floor(limits[i] * share));
        freed := (SELECT sum(n) FROM unnest(counts) AS n) + 1 - allowed;  -- that many must have left first
        place := kept + 1;
        WHILE freed > 0 AND place > 1 LOOP
            place := place - 1;
            freed := freed - counts[place];
        END LOOP;
        IF place <= kept THEN
            wait := greatest(wait, (number - place + 1 + kept) * width - epoch, 0.001);
        END IF;
        counts[1] := counts[1] + 1;
        heads := heads || number;
        every_count := every_count || ARRAY[counts];
    END LOOP;
    IF wait = 0 AND cardinality(limits) > 0 THEN
        INSERT INTO medmirror.rate_window AS w (key, seconds, head, used)
        SELECT the_key, lengths[i], heads[i], (SELECT array_agg(every_count[i][n] ORDER BY n) FROM generate_series(1, kept) AS n)
        FROM generate_series(1, cardinality(limits)) AS i
        ON CONFLICT (key, seconds) DO UPDATE SET head = excluded.head, used = excluded.used;
    END IF;
    RETURN wait;
END
$body$;
COMMENT ON FUNCTION medmirror.take_permit(text, text, int[], int[], float8, timestamptz) IS
    'take a permit for one request from every window of a key and return 0, or take none and return the seconds to wait';

CREATE TABLE medmirror.breaker (
    key text PRIMARY KEY,
    remote text NOT NULL,
    state text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half-open')),
    failures int NOT NULL DEFAULT 0,
    openings int NOT NULL DEFAULT 0,
    status int,
    opened_at timestamptz,
    probe_at timestamptz,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE medmirror.breaker IS 'Remotes that have failed: closed (used), open (left alone), half-open (one request tries it).';
COMMENT ON COLUMN medmirror.breaker.failures IS 'failures in a row, of all processes';
COMMENT ON COLUMN medmirror.breaker.openings IS 'times that it opened since it was last closed: each makes the next wait longer';
COMMENT ON COLUMN medmirror.breaker.status IS 'HTTP status of the last failure; 0: no answer came';
COMMENT ON COLUMN medmirror.breaker.probe_at IS 'open: when the next request may try it; half-open: when the one that tries it is given up';

-- take --
SELECT medmirror.take_permit(
    :key, :remote, CAST(:limits AS int[]), CAST(:lengths AS int[]), CAST(:share AS float8), CAST(:now AS timestamptz))

-- hold --
INSERT INTO medmirror.rate_key AS k (key, remote, held_until)
VALUES (:key, :remote, coalesce(CAST(:now AS timestamptz), clock_timestamp()) + make_interval(secs => :seconds))
ON CONFLICT (key) DO UPDATE SET held_until = greatest(k.held_until, excluded.held_until)

-- breaker --
SELECT state, failures, extract(epoch FROM probe_at - coalesce(CAST(:now AS timestamptz), clock_timestamp())) AS wait
FROM medmirror.breaker WHERE key = :key

-- probe --
UPDATE medmirror.breaker
SET state = 'half-open', changed_at = coalesce(CAST(:now AS timestamptz), clock_timestamp()),
    probe_at = coalesce(CAST(:now AS timestamptz), clock_timestamp()) + make_interval(secs => :seconds)
WHERE key = :key AND state <> 'closed' AND probe_at <= coalesce(CAST(:now AS timestamptz), clock_timestamp())
RETURNING true

-- begin counting --
INSERT INTO medmirror.breaker (key, remote) VALUES (:key, :remote) ON CONFLICT (key) DO NOTHING

-- failed --
UPDATE medmirror.breaker
SET failures = failures + 1, status = :status,
    state = CASE WHEN state = 'closed' AND failures + 1 >= :most OR state = 'half-open' AND :probing THEN 'open' ELSE state END,
    openings = openings + CASE WHEN state = 'closed' AND failures + 1 >= :most OR state = 'half-open' AND :probing
                               THEN 1 ELSE 0 END,
    opened_at = CASE WHEN state = 'closed' AND failures + 1 >= :most
                     THEN coalesce(CAST(:now AS timestamptz), clock_timestamp()) ELSE opened_at END,
    probe_at = CASE WHEN state = 'closed' AND failures + 1 >= :most OR state = 'half-open' AND :probing
                    THEN coalesce(CAST(:now AS timestamptz), clock_timestamp())
                         + make_interval(secs => CAST(:least AS float8) + CAST(:roll AS float8)
                                                 * (least(:cap, :base * 2.0 ^ (least(openings, 29) + 1)) - :least))
                    ELSE probe_at END,
    changed_at = coalesce(CAST(:now AS timestamptz), clock_timestamp())
WHERE key = :key
RETURNING state

-- worked --
UPDATE medmirror.breaker
SET state = 'closed', failures = 0, openings = 0, opened_at = NULL, probe_at = NULL,
    changed_at = coalesce(CAST(:now AS timestamptz), clock_timestamp())
WHERE key = :key AND (state = 'closed' AND failures > 0 OR state = 'half-open' AND :probing)

-- breakers --
SELECT key, remote, state, failures, openings, status, opened_at, probe_at, changed_at
FROM medmirror.breaker ORDER BY remote, key

-- note --
SELECT value FROM medmirror.sync_note WHERE organization_id = :organization_id AND source = :source AND name = :name

-- set note --
INSERT INTO medmirror.sync_note (organization_id, source, name, value, noted_at)
VALUES (:organization_id, :source, :name, :value, clock_timestamp())
ON CONFLICT (organization_id, source, name) DO UPDATE SET value = excluded.value, noted_at = excluded.noted_at

-- forget note --
DELETE FROM medmirror.sync_note WHERE organization_id = :organization_id AND source = :source AND name = :name

-- forget pushed --
DELETE FROM medmirror.sync_note
WHERE organization_id = :organization_id AND name LIKE 'pushed:%' AND noted_at < now() - interval '30 days'
