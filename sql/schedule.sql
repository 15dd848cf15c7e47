-- The scheduler: a sign of life for people, and when the last sync that it asked for begins.

-- migrate 1 --
CREATE TABLE medmirror.scheduler (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    ticked_at timestamptz NOT NULL,
    leader text NOT NULL,
    organizations int NOT NULL,
    asked int NOT NULL,
    next_at timestamptz,
    slot_at timestamptz
);
COMMENT ON TABLE medmirror.scheduler IS 'One row: what the scheduler that leads last did, also when there was nothing to do.';
COMMENT ON COLUMN medmirror.scheduler.leader IS 'host and process';
COMMENT ON COLUMN medmirror.scheduler.asked IS 'how many syncs it asked for in that look';
COMMENT ON COLUMN medmirror.scheduler.next_at IS 'when the next organisation is due';
COMMENT ON COLUMN medmirror.scheduler.slot_at IS 'when the last sync that was asked for begins; the next one comes a spacing later';

-- known --
SELECT o.organization_id, o.source, s.success_at, greatest(s.full_at, f.started_at) AS full_at,
       greatest(s.failures, CASE WHEN l.state IN ('dead', 'cancelled') THEN 1 ELSE 0 END) AS failures,
       greatest(s.failed_at, CASE WHEN l.state IN ('dead', 'cancelled') THEN l.finished_at END) AS failed_at,
       l.job_id AS last_job
FROM medmirror.organization AS o
LEFT JOIN medmirror.sync_state AS s USING (organization_id, source)
LEFT JOIN LATERAL (
    SELECT j.job_id, j.state, j.finished_at FROM medmirror.job AS j
    WHERE j.organization_id = o.organization_id AND j.source = o.source AND j.kind = 'sync'
    ORDER BY j.created_at DESC, j.job_id LIMIT 1
) AS l ON true
LEFT JOIN LATERAL (
    SELECT max(j.started_at) AS started_at FROM medmirror.job AS j
    WHERE j.organization_id = o.organization_id AND j.source = o.source AND j.kind = 'sync' AND j.state = 'succeeded'
      AND (j.force_full OR j.mode = 'comprehensive') AND j.created_at > CAST(:now AS timestamptz) - interval '3 days'
) AS f ON true
WHERE o.paused_at IS NULL
  AND NOT EXISTS (
    SELECT FROM medmirror.job AS j
    WHERE j.organization_id = o.organization_id AND j.source = o.source AND j.kind = 'sync'
      AND j.state IN ('queued', 'in_progress', 'retrying'))
ORDER BY o.organization_id, o.source

-- ticked --
INSERT INTO medmirror.scheduler AS s (ticked_at, leader, organizations, asked, next_at, slot_at)
VALUES (:now, :leader, :organizations, :asked, :next_at, :slot_at)
ON CONFLICT (single) DO UPDATE
SET ticked_at = excluded.ticked_at, leader = excluded.leader, organizations = excluded.organizations,
    asked = excluded.asked, next_at = excluded.next_at, slot_at = coalesce(excluded.slot_at, s.slot_at)

-- heartbeat --
SELECT ticked_at, leader, organizations, asked, next_at, slot_at FROM medmirror.scheduler
