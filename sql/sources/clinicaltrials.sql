-- ClinicalTrials.gov: one table of studies, its facts, and views for what people join. The views read the column
-- `study` (the whole study as published); the other columns are there to filter by.

-- migrate 1 --
CREATE SCHEMA IF NOT EXISTS clinicaltrials;
COMMENT ON SCHEMA clinicaltrials IS 'Studies registered with ClinicalTrials.gov';

CREATE TABLE clinicaltrials.study (
    nct_id text NOT NULL,
    deleted boolean NOT NULL,
    study jsonb,
    brief_title text,
    official_title text,
    acronym text,
    org_study_id text,
    nct_id_aliases text[],
    secondary_ids text[],
    overall_status text,
    why_stopped text,
    study_type text,
    phases text[],
    enrollment integer,
    enrollment_type text,
    start_date text,
    start_day date,
    primary_completion_date text,
    primary_completion_day date,
    completion_date text,
    completion_day date,
    first_posted date,
    results_first_posted date,
    last_update_posted date,
    has_results boolean,
    lead_sponsor text,
    lead_sponsor_class text,
    conditions text[],
    keywords text[],
    interventions text[],
    countries text[],
    pmids text[],
    sex text,
    minimum_age text,
    maximum_age text,
    PRIMARY KEY (nct_id)
);
COMMENT ON TABLE clinicaltrials.study IS 'One row a study, the newest copy loaded';
COMMENT ON COLUMN clinicaltrials.study.deleted IS 'true: a tombstone; all other columns but the key are NULL';
COMMENT ON COLUMN clinicaltrials.study.study IS 'the whole study, equal to the input, value for value';
COMMENT ON COLUMN clinicaltrials.study.start_date IS 'as given: 2023-05-17 or, by month only, 2023-05';
COMMENT ON COLUMN clinicaltrials.study.start_day IS 'the first day that start_date can mean; NULL for a date that cannot exist';
COMMENT ON COLUMN clinicaltrials.study.primary_completion_day IS 'the first day that primary_completion_date can mean';
COMMENT ON COLUMN clinicaltrials.study.completion_day IS 'the first day that completion_date can mean';
COMMENT ON COLUMN clinicaltrials.study.interventions IS 'the names of the interventions, in order; see also view intervention';
COMMENT ON COLUMN clinicaltrials.study.countries IS 'the countries of the locations, each once';
COMMENT ON COLUMN clinicaltrials.study.pmids IS 'the PubMed numbers of the references, each once';
CREATE INDEX study_overall_status ON clinicaltrials.study (overall_status);
CREATE INDEX study_last_update_posted ON clinicaltrials.study (last_update_posted);
CREATE INDEX study_start_day ON clinicaltrials.study (start_day);
CREATE INDEX study_lead_sponsor ON clinicaltrials.study (lead_sponsor);
CREATE INDEX study_conditions ON clinicaltrials.study USING gin (conditions);
CREATE INDEX study_interventions ON clinicaltrials.study USING gin (interventions);
CREATE INDEX study_pmids ON clinicaltrials.study USING gin (pmids);
CREATE INDEX study_aliases ON clinicaltrials.study USING gin (nct_id_aliases) WHERE nct_id_aliases IS NOT NULL;

-- Narrow, and asked before anything is written: an unchanged study costs neither a lock nor WAL.
CREATE TABLE clinicaltrials.study_fact (
    nct_id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (nct_id)
);
COMMENT ON TABLE clinicaltrials.study_fact IS 'What the loader knows of each study without reading it';
COMMENT ON COLUMN clinicaltrials.study_fact.version IS 'orders copies: day of the last posted update, of the data release, number of modules';
COMMENT ON COLUMN clinicaltrials.study_fact.run_id IS 'the run that last moved the version; see medmirror.run';
COMMENT ON COLUMN clinicaltrials.study_fact.digest IS 'SHA-256 of the study''s bytes as published';
CREATE INDEX study_fact_run ON clinicaltrials.study_fact USING brin (run_id);

CREATE VIEW clinicaltrials.location AS
SELECT s.nct_id, l.position::int AS position,
       l.place->>'facility' AS facility, l.place->>'status' AS status, l.place->>'city' AS city,
       l.place->>'state' AS state, l.place->>'zip' AS zip, l.place->>'country' AS country,
       l.place->>'countryCode' AS country_code,
       CASE WHEN jsonb_typeof(l.place->'geoPoint'->'lat') = 'number' THEN (l.place->'geoPoint'->>'lat')::float8 END
           AS latitude,
       CASE WHEN jsonb_typeof(l.place->'geoPoint'->'lon') = 'number' THEN (l.place->'geoPoint'->>'lon')::float8 END
           AS longitude,
       l.place->'contacts' AS contacts
FROM clinicaltrials.study AS s
CROSS JOIN jsonb_array_elements(s.study #> '{protocolSection,contactsLocationsModule,locations}')
    WITH ORDINALITY AS l(place, position)
WHERE NOT s.deleted;
COMMENT ON VIEW clinicaltrials.location IS 'One row a location of each study; none is ever cut off';

CREATE VIEW clinicaltrials.condition AS
SELECT s.nct_id, c.position::int AS position, c.condition
FROM clinicaltrials.study AS s
CROSS JOIN unnest(s.conditions) WITH ORDINALITY AS c(condition, position)
WHERE NOT s.deleted;
COMMENT ON VIEW clinicaltrials.condition IS 'One row a condition of each study';

CREATE VIEW clinicaltrials.intervention AS
SELECT s.nct_id, i.position::int AS position,
       i.item->>'type' AS type, i.item->>'name' AS name, i.item->>'description' AS description,
       ARRAY(SELECT jsonb_path_query(i.item, '$.armGroupLabels[*]') #>> '{}') AS arm_group_labels,
       ARRAY(SELECT jsonb_path_query(i.item, '$.otherNames[*]') #>> '{}') AS other_names
FROM clinicaltrials.study AS s
CROSS JOIN jsonb_array_elements(s.study #> '{protocolSection,armsInterventionsModule,interventions}')
    WITH ORDINALITY AS i(item, position)
WHERE NOT s.deleted;
COMMENT ON VIEW clinicaltrials.intervention IS 'One row an intervention of each study';

CREATE VIEW clinicaltrials.arm_group AS
SELECT s.nct_id, a.position::int AS position,
       a.arm->>'label' AS label, a.arm->>'type' AS type, a.arm->>'description' AS description,
       ARRAY(SELECT jsonb_path_query(a.arm, '$.interventionNames[*]') #>> '{}') AS intervention_names
FROM clinicaltrials.study AS s
CROSS JOIN jsonb_array_elements(s.study #> '{protocolSection,armsInterventionsModule,armGroups}')
    WITH ORDINALITY AS a(arm, position)
WHERE NOT s.deleted;
COMMENT ON VIEW clinicaltrials.arm_group IS 'One row an arm (or cohort) of each study';

CREATE VIEW clinicaltrials.outcome AS
SELECT s.nct_id, k.type, o.position::int AS position,
       o.outcome->>'measure' AS measure, o.outcome->>'description' AS description, o.outcome->>'timeFrame' AS time_frame
FROM clinicaltrials.study AS s
CROSS JOIN (VALUES ('primary', 'primaryOutcomes'), ('secondary', 'secondaryOutcomes'), ('other', 'otherOutcomes'))
    AS k(type, name)
CROSS JOIN jsonb_array_elements(s.study #> ARRAY['protocolSection', 'outcomesModule', k.name])
    WITH ORDINALITY AS o(outcome, position)
WHERE NOT s.deleted;
COMMENT ON VIEW clinicaltrials.outcome IS 'One row a planned outcome of each study; position counts within its type';

CREATE VIEW clinicaltrials.sponsor AS
SELECT s.nct_id, 0 AS position, 'lead' AS role, s.lead_sponsor AS name, s.lead_sponsor_class AS class
FROM clinicaltrials.study AS s
WHERE NOT s.deleted AND s.lead_sponsor IS NOT NULL
UNION ALL
SELECT s.nct_id, c.position::int, 'collaborator', c.item->>'name', c.item->>'class'
FROM clinicaltrials.study AS s
CROSS JOIN jsonb_array_elements(s.study #> '{protocolSection,sponsorCollaboratorsModule,collaborators}')
    WITH ORDINALITY AS c(item, position)
WHERE NOT s.deleted;
COMMENT ON VIEW clinicaltrials.sponsor IS 'The lead sponsor (position 0) and the collaborators of each study';

CREATE VIEW clinicaltrials.reference AS
SELECT s.nct_id, r.position::int AS position,
       CASE WHEN r.item->>'pmid' ~ '^[0-9]{1,18}$' THEN (r.item->>'pmid')::bigint END AS pmid,
       r.item->>'type' AS type, r.item->>'citation' AS citation, r.item->'retractions' AS retractions
FROM clinicaltrials.study AS s
CROSS JOIN jsonb_array_elements(s.study #> '{protocolSection,referencesModule,references}')
    WITH ORDINALITY AS r(item, position)
WHERE NOT s.deleted;
COMMENT ON VIEW clinicaltrials.reference IS 'One row a reference of each study; pmid is pubmed.citation.pmid';

-- migrate 2 --
SELECT medmirror.keep_digest('clinicaltrials.study_fact');

-- migrate 3 --
-- What orders copies of one version: see ingest/order.py.
ALTER TABLE clinicaltrials.study_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN clinicaltrials.study_fact.tie IS 'orders copies of one version: not used here';
COMMENT ON COLUMN clinicaltrials.study_fact.place IS 'orders copies of one version that nothing else orders: load, file, and place in the file';

-- migrate 4 --
-- An index never decides what can be stored: a hash index holds a text of any length (and answers = alone).
DROP INDEX clinicaltrials.study_lead_sponsor;
CREATE INDEX study_lead_sponsor ON clinicaltrials.study USING hash (lead_sponsor);
DROP INDEX clinicaltrials.study_overall_status;
CREATE INDEX study_overall_status ON clinicaltrials.study (pg_catalog.left(overall_status, 100));

-- migrate 5 --
-- Numbers that the registry has merged into others: what a study's nct_id_aliases says. The old study becomes a tombstone;
-- what it said itself of others stays here.
CREATE TABLE clinicaltrials.alias (
    nct_id text NOT NULL PRIMARY KEY,
    superseded_by text NOT NULL
);
COMMENT ON TABLE clinicaltrials.alias IS 'Retired numbers, each with the study that names it; see also view merged';
CREATE INDEX alias_superseded_by ON clinicaltrials.alias (superseded_by);
CREATE INDEX study_naming ON clinicaltrials.study (nct_id) WHERE nct_id_aliases IS NOT NULL;

CREATE VIEW clinicaltrials.merged AS
WITH RECURSIVE chain AS (
    SELECT nct_id, superseded_by, ARRAY[nct_id, superseded_by] AS way FROM clinicaltrials.alias
    UNION ALL
    SELECT c.nct_id, a.superseded_by, c.way || a.superseded_by
    FROM chain AS c JOIN clinicaltrials.alias AS a ON a.nct_id = c.superseded_by
    WHERE NOT a.superseded_by = ANY(c.way)
)
SELECT DISTINCT ON (c.nct_id) c.nct_id, c.superseded_by
FROM chain AS c JOIN clinicaltrials.study_fact AS f ON f.nct_id = c.superseded_by AND NOT f.deleted
ORDER BY c.nct_id, cardinality(c.way) DESC;
COMMENT ON VIEW clinicaltrials.merged IS 'One row a retired number: the living study that it was merged into, along all steps';

-- learn study --
-- What the living studies say now. Of several that name one number the one that was updated last counts.
WITH named AS (
    SELECT DISTINCT ON (a.alias) a.alias, s.nct_id
    FROM clinicaltrials.study AS s
    JOIN clinicaltrials.study_fact AS f USING (nct_id)
    CROSS JOIN unnest(s.nct_id_aliases) AS a(alias)
    WHERE s.nct_id_aliases IS NOT NULL AND NOT s.deleted AND a.alias <> s.nct_id AND a.alias ~ '^NCT[0-9]{8}$'
    ORDER BY a.alias, f.version DESC, s.nct_id
),
withdrawn AS (
    DELETE FROM clinicaltrials.alias AS o USING clinicaltrials.study AS s
    WHERE s.nct_id = o.superseded_by AND NOT s.deleted AND NOT coalesce(s.nct_id_aliases @> ARRAY[o.nct_id], false)
      AND NOT EXISTS (SELECT FROM named AS n WHERE n.alias = o.nct_id)
)
INSERT INTO clinicaltrials.alias AS o (nct_id, superseded_by) SELECT alias, nct_id FROM named ORDER BY alias
ON CONFLICT (nct_id) DO UPDATE SET superseded_by = excluded.superseded_by
WHERE o.superseded_by <> excluded.superseded_by

-- retired study --
-- Living studies that were merged into another one. Where numbers name each other in a circle, the study that was updated
-- last stays. A newer copy of a retired study lives again only when nobody names it any more.
WITH RECURSIVE chain AS (
    SELECT nct_id, superseded_by, ARRAY[nct_id, superseded_by] AS way FROM clinicaltrials.alias
    UNION ALL
    SELECT c.nct_id, a.superseded_by, c.way || a.superseded_by
    FROM chain AS c JOIN clinicaltrials.alias AS a ON a.nct_id = c.superseded_by
    WHERE c.superseded_by <> c.nct_id AND NOT a.superseded_by = ANY(c.way[2:])
)
SELECT f.nct_id, f.version + 1 AS version
FROM clinicaltrials.study_fact AS f
WHERE NOT f.deleted AND EXISTS (
    SELECT FROM chain AS c JOIN clinicaltrials.study_fact AS o ON o.nct_id = c.superseded_by AND NOT o.deleted
    WHERE c.nct_id = f.nct_id AND o.nct_id <> f.nct_id
      AND (NOT EXISTS (SELECT FROM chain AS back WHERE back.nct_id = o.nct_id AND back.superseded_by = f.nct_id)
           OR (o.version, f.nct_id) > (f.version, o.nct_id)))
ORDER BY f.nct_id

-- search study --
-- A tsvector holds 1 MB: of texts without a limit of their own the first part is taken.
SELECT nct_id,
       setweight(medmirror.search_vector(concat_ws(' ', nct_id, array_to_string(nct_id_aliases, ' '), acronym,
                                                  brief_title, official_title)), 'A') ||
       setweight(medmirror.search_vector(concat_ws(' ', array_to_string(conditions, ' '),
                                                  array_to_string(interventions, ' '),
                                                  array_to_string(keywords, ' '))), 'B') ||
       setweight(medmirror.search_vector(left(concat_ws(' ', lead_sponsor,
           study #>> '{protocolSection,descriptionModule,briefSummary}'), 100000)), 'C') ||
       setweight(medmirror.search_vector(left(concat_ws(' ',
           study #>> '{protocolSection,descriptionModule,detailedDescription}',
           study #>> '{protocolSection,eligibilityModule,eligibilityCriteria}'), 200000)), 'D') AS document
FROM clinicaltrials.study
WHERE NOT deleted

-- headline study --
SELECT nct_id, coalesce(brief_title, official_title, nct_id)
           || coalesce((SELECT ' [merged into it: ' || string_agg(m.nct_id, ', ' ORDER BY m.nct_id) || ']'
                        FROM clinicaltrials.merged AS m WHERE m.superseded_by = study.nct_id), '') AS title,
       concat_ws(E'\n', official_title, study #>> '{protocolSection,descriptionModule,briefSummary}',
                 array_to_string(conditions, ', '), array_to_string(interventions, ', '),
                 study #>> '{protocolSection,descriptionModule,detailedDescription}') AS body
FROM clinicaltrials.study
WHERE NOT deleted
