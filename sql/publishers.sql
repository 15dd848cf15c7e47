-- What was mirrored from publishers' servers: which files, in which version, and how far their lists were read.

-- migrate 1 --
CREATE TABLE medmirror.mirrored (
    publisher text NOT NULL,
    name text NOT NULL,
    sign text NOT NULL,
    listed text NOT NULL DEFAULT '',
    records bigint NOT NULL,
    rejected bigint NOT NULL DEFAULT 0,
    run_id bigint,
    mirrored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (publisher, name)
);
COMMENT ON TABLE medmirror.mirrored IS 'One row a publisher''s file that was downloaded and loaded; written after the load.';
COMMENT ON COLUMN medmirror.mirrored.sign IS 'which version of the file: its MD5, or the day of its export';
COMMENT ON COLUMN medmirror.mirrored.listed IS 'what the publisher''s list said of it (date and size): the same, the same file';
COMMENT ON COLUMN medmirror.mirrored.records IS 'records in it';
COMMENT ON COLUMN medmirror.mirrored.rejected IS 'records of it that could not be loaded';

CREATE TABLE medmirror.mirror_mark (
    publisher text NOT NULL,
    list text NOT NULL,
    mark text NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (publisher, list)
);
COMMENT ON TABLE medmirror.mirror_mark IS 'How far a publisher''s list was mirrored; moved after its files were loaded.';
COMMENT ON COLUMN medmirror.mirror_mark.mark IS 'what the publisher called that state: a time, the day of an export';

-- mirrored --
SELECT name, sign, listed, records, rejected FROM medmirror.mirrored WHERE publisher = :publisher

-- remember --
INSERT INTO medmirror.mirrored (publisher, name, sign, listed, records, rejected, run_id)
VALUES (:publisher, :name, :sign, :listed, :records, :rejected, :run_id)
ON CONFLICT (publisher, name) DO UPDATE
SET sign = excluded.sign, listed = excluded.listed, records = excluded.records, rejected = excluded.rejected,
    run_id = excluded.run_id, mirrored_at = clock_timestamp()

-- forget --
DELETE FROM medmirror.mirrored WHERE publisher = :publisher AND name = ANY(:names)

-- marks --
SELECT list, mark FROM medmirror.mirror_mark WHERE publisher = :publisher

-- mark --
INSERT INTO medmirror.mirror_mark (publisher, list, mark) VALUES (:publisher, :list, :mark)
ON CONFLICT (publisher, list) DO UPDATE SET mark = excluded.mark, moved_at = clock_timestamp()

-- below --
-- The living keys of a feed whose version, as far as the mask shows it, lies below a number. One without version counts
-- when it is of a day below another number (see ingest/order.py).
SELECT {keys}, version FROM {fact}
WHERE NOT deleted AND (version & CAST(:mask AS int8)) < CAST(:version AS int8)
  AND (version <> 0 OR tie < CAST(:day AS int8))
ORDER BY {keys}

-- living --
SELECT count(*) FROM {fact} WHERE NOT deleted
