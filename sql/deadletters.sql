-- The statements of jobs/deadletters/; the table is in jobs.sql.

-- parent --
-- The letter that job :job_id was to do again and that has not died again yet; its clock runs on.
SELECT dead_letter_id, first_failed_at, contacted_at, incident FROM medmirror.dead_letter AS d
WHERE requeued_as = :job_id AND state = 'requeued'
  AND (CAST(:fingerprint AS text) IS NULL OR fingerprint = :fingerprint AND scope = 'record')
  AND NOT EXISTS (SELECT FROM medmirror.dead_letter AS again WHERE again.parent = d.dead_letter_id)
ORDER BY dead_letter_id LIMIT 1

-- again --
UPDATE medmirror.dead_letter
SET attempts = attempts + :attempts, died_at = coalesce(:now, clock_timestamp()), job_id = :job_id, message = :message,
    reject_id = coalesce(:reject_id, reject_id), payload = coalesce(:payload, payload)
WHERE organization_id = :organization_id AND source = :source AND feed IS NOT DISTINCT FROM :feed
  AND fingerprint = :fingerprint  -- of the same bytes that somebody has decided to ignore there is no second letter
  AND (state = 'open' AND (reject_id = :reject_id OR record = :record) OR state = 'ignored' AND reject_id = :reject_id)
RETURNING dead_letter_id

-- insert --
INSERT INTO medmirror.dead_letter
  (job_id, organization_id, source, feed, scope, class, error, message, fingerprint, attempts, first_failed_at, died_at,
   contact_due, contacted_at, reject_id, payload, record, parent, incident)
VALUES (:job_id, :organization_id, :source, :feed, :scope, :class, :error, :message, :fingerprint, :attempts,
        CAST(:first_failed_at AS timestamptz), coalesce(:now, clock_timestamp()),
        CAST(:first_failed_at AS timestamptz) + interval '24 hours', :contacted_at, :reject_id, :payload, :record, :parent,
        :incident)
RETURNING dead_letter_id

-- reopen others --
UPDATE medmirror.dead_letter AS d SET state = 'open'
WHERE requeued_as = :job_id AND state = 'requeued' AND dead_letter_id <> :parent
  AND NOT EXISTS (SELECT FROM medmirror.dead_letter AS again WHERE again.parent = d.dead_letter_id)

-- find --
SELECT d.dead_letter_id, d.job_id, d.organization_id, d.source, d.feed, d.scope, d.class AS number, d.error, d.message,
       d.fingerprint, d.attempts, d.first_failed_at, d.died_at, d.contact_due, d.contacted_at, d.reject_id,
       d.payload IS NOT NULL AS has_payload, d.state, d.requeued_as, d.parent, d.incident, d.note,
       CASE WHEN d.scope = 'job' THEN s.success_at > d.died_at
            WHEN d.reject_id IS NOT NULL THEN (
                SELECT r.resolved_at IS NOT NULL FROM medmirror.reject AS r WHERE r.reject_id = d.reject_id) END AS recovered
FROM medmirror.dead_letter AS d LEFT JOIN medmirror.sync_state AS s USING (organization_id, source)
WHERE (CAST(:ids AS bigint[]) IS NULL OR d.dead_letter_id = ANY (CAST(:ids AS bigint[])))
  AND (CAST(:fingerprint AS text) IS NULL OR d.fingerprint = :fingerprint)
  AND (CAST(:number AS smallint) IS NULL OR d.class = :number)
  AND (CAST(:organization_id AS text) IS NULL OR d.organization_id = :organization_id)
  AND (CAST(:states AS text[]) IS NULL OR d.state = ANY (CAST(:states AS text[])))
ORDER BY d.dead_letter_id
LIMIT :limit

-- groups --
SELECT fingerprint, number, source, feed, min(error) AS error, count(*) AS letters,
       count(DISTINCT organization_id) AS organizations, count(*) FILTER (WHERE scope = 'record') AS records,
       min(first_failed_at) AS first_failed_at, max(died_at) AS died_at,
       min(contact_due) FILTER (WHERE contacted_at IS NULL) AS contact_due,
       (array_agg(message ORDER BY died_at DESC))[1] AS message, max(incident) AS incident,
       array_agg(dead_letter_id ORDER BY dead_letter_id) AS ids, array_agg(DISTINCT organization_id) AS names,
       array_remove(array_agg(reject_id ORDER BY dead_letter_id), NULL) AS reject_ids,
       count(*) FILTER (WHERE recovered) AS recovered
FROM (
    SELECT d.*, d.class AS number, d.scope = 'job' AND s.success_at > d.died_at AS recovered
    FROM medmirror.dead_letter AS d LEFT JOIN medmirror.sync_state AS s USING (organization_id, source)
) AS d
WHERE state = 'open' AND (CAST(:ids AS bigint[]) IS NULL OR dead_letter_id = ANY (CAST(:ids AS bigint[])))
  AND (CAST(:fingerprint AS text) IS NULL OR fingerprint = :fingerprint)
  AND (CAST(:number AS smallint) IS NULL OR number = :number)
  AND (CAST(:organization_id AS text) IS NULL OR organization_id = :organization_id)
GROUP BY fingerprint, number, source, feed
ORDER BY number, min(first_failed_at)

-- seen before --
SELECT state, note, incident FROM medmirror.dead_letter
WHERE fingerprint = :fingerprint AND state IN ('resolved', 'ignored') ORDER BY died_at DESC LIMIT 200

-- payload --
SELECT payload FROM medmirror.dead_letter WHERE dead_letter_id = :dead_letter_id

-- lock open --
SELECT job_id, organization_id, source, reject_id FROM medmirror.dead_letter
WHERE dead_letter_id = :dead_letter_id AND state = 'open' FOR UPDATE

-- requeued --
UPDATE medmirror.dead_letter SET state = 'requeued', requeued_as = :requeued_as WHERE dead_letter_id = :dead_letter_id

-- close --
UPDATE medmirror.dead_letter SET state = :state, note = coalesce(:note, note)
WHERE dead_letter_id = ANY (CAST(:ids AS bigint[])) AND state = 'open'
RETURNING dead_letter_id

-- note --
UPDATE medmirror.dead_letter SET note = coalesce(:note, note), incident = coalesce(:incident, incident)
WHERE dead_letter_id = ANY (CAST(:ids AS bigint[]))

-- contacted --
UPDATE medmirror.dead_letter SET contacted_at = :now WHERE dead_letter_id = :dead_letter_id

-- reject state --
SELECT resolved_at IS NOT NULL FROM medmirror.reject WHERE reject_id = :reject_id

-- counts --
SELECT count(*) AS open, count(*) FILTER (WHERE class = 1) AS third_party, count(*) FILTER (WHERE class = 2) AS bad_data,
       count(*) FILTER (WHERE class = 3) AS account,
       count(*) FILTER (WHERE contacted_at IS NULL AND contact_due < :now) AS overdue
FROM medmirror.dead_letter WHERE state = 'open'
