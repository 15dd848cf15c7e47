-- openFDA: a table for each kind of record, its facts, and a view that joins labels, products and applications. Every
-- table has the whole record in `record`; the other columns are there to filter and to join by. Those that openFDA adds
-- (the object `openfda` of a record, often empty) are arrays.

-- migrate 1 --
CREATE SCHEMA IF NOT EXISTS openfda;
COMMENT ON SCHEMA openfda IS 'openFDA: drug labels, products, applications, adverse events, recalls, shortages';

CREATE TABLE openfda.label (
    set_id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    id text,
    version integer,
    effective_time date,
    application_number text[],
    brand_name text[],
    generic_name text[],
    manufacturer_name text[],
    package_ndc text[],
    pharm_class_epc text[],
    product_ndc text[],
    product_type text[],
    route text[],
    rxcui text[],
    spl_id text[],
    spl_set_id text[],
    substance_name text[],
    unii text[],
    PRIMARY KEY (set_id)
);
COMMENT ON TABLE openfda.label IS 'Drug labels, one row a document (set_id), its newest version';
COMMENT ON COLUMN openfda.label.deleted IS 'true: a tombstone; all other columns but the key are NULL';
COMMENT ON COLUMN openfda.label.record IS 'the whole record, equal to the input, value for value';
COMMENT ON COLUMN openfda.label.effective_time IS 'the day this version took effect; NULL for a date that cannot exist';
COMMENT ON COLUMN openfda.label.version IS 'the label''s own version number';
COMMENT ON COLUMN openfda.label.id IS 'the version of the document (spl_id)';
CREATE INDEX label_identifiers ON openfda.label USING gin (application_number, product_ndc, package_ndc, rxcui, unii);
CREATE INDEX label_names ON openfda.label USING gin (brand_name, generic_name, substance_name);
CREATE INDEX label_effective_time ON openfda.label (effective_time);

CREATE TABLE openfda.label_fact (
    set_id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (set_id)
);
COMMENT ON TABLE openfda.label_fact IS 'What the loader knows of each row of openfda.label without reading it';
COMMENT ON COLUMN openfda.label_fact.version IS 'orders copies: the label''s own version number, the day it took effect, the day of the export';
CREATE INDEX label_fact_run ON openfda.label_fact USING brin (run_id);

CREATE TABLE openfda.ndc (
    product_id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    product_ndc text,
    spl_id text,
    product_type text,
    finished boolean,
    brand_name text,
    generic_name text,
    labeler_name text,
    dosage_form text,
    route text[],
    marketing_category text,
    application_number text,
    marketing_start_date date,
    marketing_end_date date,
    listing_expiration_date date,
    dea_schedule text,
    active_ingredients text[],
    package_ndc text[],
    pharm_class text[],
    manufacturer_name text[],
    rxcui text[],
    spl_set_id text[],
    unii text[],
    upc text[],
    PRIMARY KEY (product_id)
);
COMMENT ON TABLE openfda.ndc IS 'Products of the National Drug Code Directory';
COMMENT ON COLUMN openfda.ndc.deleted IS 'true: a tombstone; all other columns but the key are NULL';
COMMENT ON COLUMN openfda.ndc.record IS 'the whole record, equal to the input, value for value';
COMMENT ON COLUMN openfda.ndc.package_ndc IS 'the packages that the product is sold in';
COMMENT ON COLUMN openfda.ndc.active_ingredients IS 'names of the active ingredients; record has their strengths';
CREATE INDEX ndc_product_ndc ON openfda.ndc (product_ndc);
CREATE INDEX ndc_application_number ON openfda.ndc (application_number);
CREATE INDEX ndc_generic_name ON openfda.ndc (generic_name);
CREATE INDEX ndc_identifiers ON openfda.ndc USING gin (package_ndc, spl_set_id, rxcui, unii, active_ingredients);

CREATE TABLE openfda.ndc_fact (
    product_id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (product_id)
);
COMMENT ON TABLE openfda.ndc_fact IS 'What the loader knows of each row of openfda.ndc without reading it';
COMMENT ON COLUMN openfda.ndc_fact.version IS 'orders copies: the day of the export';
CREATE INDEX ndc_fact_run ON openfda.ndc_fact USING brin (run_id);

CREATE TABLE openfda.event (
    safetyreportid text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    safetyreportversion integer,
    receivedate date,
    receiptdate date,
    transmissiondate date,
    serious boolean,
    seriousnessdeath boolean,
    seriousnesshospitalization boolean,
    seriousnesslifethreatening boolean,
    seriousnessdisabling boolean,
    seriousnesscongenitalanomali boolean,
    seriousnessother boolean,
    reporttype text,
    companynumb text,
    occurcountry text,
    primarysourcecountry text,
    patientsex text,
    reactions text[],
    drugs text[],
    indications text[],
    application_number text[],
    brand_name text[],
    generic_name text[],
    product_ndc text[],
    rxcui text[],
    substance_name text[],
    unii text[],
    PRIMARY KEY (safetyreportid)
);
COMMENT ON TABLE openfda.event IS 'Reports of adverse events, one row a report, its newest version';
COMMENT ON COLUMN openfda.event.deleted IS 'true: a tombstone; all other columns but the key are NULL';
COMMENT ON COLUMN openfda.event.record IS 'the whole record, equal to the input, value for value';
COMMENT ON COLUMN openfda.event.serious IS 'whether the reporter called it serious (code 1)';
COMMENT ON COLUMN openfda.event.drugs IS 'the drugs as reported; generic_name and substance_name are what openFDA adds';
COMMENT ON COLUMN openfda.event.reactions IS 'MedDRA preferred terms';
CREATE INDEX event_receivedate ON openfda.event (receivedate);
CREATE INDEX event_names ON openfda.event USING gin (reactions, drugs, substance_name);

CREATE TABLE openfda.event_fact (
    safetyreportid text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (safetyreportid)
);
COMMENT ON TABLE openfda.event_fact IS 'What the loader knows of each row of openfda.event without reading it';
COMMENT ON COLUMN openfda.event_fact.version IS 'orders copies: the report''s own version number, the day it was last received, the day of the export';
CREATE INDEX event_fact_run ON openfda.event_fact USING brin (run_id);

CREATE TABLE openfda.enforcement (
    recall_number text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    event_id text,
    status text,
    classification text,
    product_type text,
    recalling_firm text,
    product_description text,
    reason_for_recall text,
    voluntary_mandated text,
    city text,
    state text,
    country text,
    recall_initiation_date date,
    center_classification_date date,
    termination_date date,
    report_date date,
    application_number text[],
    brand_name text[],
    generic_name text[],
    manufacturer_name text[],
    package_ndc text[],
    pharm_class_epc text[],
    product_ndc text[],
    route text[],
    rxcui text[],
    spl_id text[],
    spl_set_id text[],
    substance_name text[],
    unii text[],
    PRIMARY KEY (recall_number)
);
COMMENT ON TABLE openfda.enforcement IS 'Recalls';
COMMENT ON COLUMN openfda.enforcement.deleted IS 'true: a tombstone; all other columns but the key are NULL';
COMMENT ON COLUMN openfda.enforcement.record IS 'the whole record, equal to the input, value for value';
COMMENT ON COLUMN openfda.enforcement.product_type IS 'the record''s own: Drugs, Food, Devices';
CREATE INDEX enforcement_report_date ON openfda.enforcement (report_date);
CREATE INDEX enforcement_identifiers ON openfda.enforcement USING gin (application_number, product_ndc, package_ndc);

CREATE TABLE openfda.enforcement_fact (
    recall_number text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (recall_number)
);
COMMENT ON TABLE openfda.enforcement_fact IS 'What the loader knows of each row of openfda.enforcement without reading it';
COMMENT ON COLUMN openfda.enforcement_fact.version IS 'orders copies: the day of the enforcement report, the day of the export';
CREATE INDEX enforcement_fact_run ON openfda.enforcement_fact USING brin (run_id);

CREATE TABLE openfda.shortage (
    package_ndc text NOT NULL,
    shortage_key text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    generic_name text,
    proprietary_name text,
    company_name text,
    presentation text,
    dosage_form text,
    strength text[],
    status text,
    availability text,
    shortage_reason text,
    update_type text,
    therapeutic_category text[],
    initial_posting_date date,
    update_date date,
    discontinued_date date,
    application_number text[],
    brand_name text[],
    manufacturer_name text[],
    pharm_class_epc text[],
    product_ndc text[],
    product_type text[],
    route text[],
    rxcui text[],
    spl_id text[],
    spl_set_id text[],
    substance_name text[],
    unii text[],
    PRIMARY KEY (package_ndc, shortage_key)
);
COMMENT ON TABLE openfda.shortage IS 'Drug shortages, one row a presentation in one shortage';
COMMENT ON COLUMN openfda.shortage.deleted IS 'true: a tombstone; all other columns but the key are NULL';
COMMENT ON COLUMN openfda.shortage.record IS 'the whole record, equal to the input, value for value';
COMMENT ON COLUMN openfda.shortage.shortage_key IS 'digest of first day posted, company, generic name, dosage form and presentation: what tells two shortages of a package apart';
COMMENT ON COLUMN openfda.shortage.package_ndc IS 'empty when the record has none';
CREATE INDEX shortage_status ON openfda.shortage (status);
CREATE INDEX shortage_identifiers ON openfda.shortage USING gin (application_number, product_ndc, rxcui, unii);

CREATE TABLE openfda.shortage_fact (
    package_ndc text NOT NULL,
    shortage_key text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (package_ndc, shortage_key)
);
COMMENT ON TABLE openfda.shortage_fact IS 'What the loader knows of each row of openfda.shortage without reading it';
COMMENT ON COLUMN openfda.shortage_fact.version IS 'orders copies: the day of the update, the day of the export';
CREATE INDEX shortage_fact_run ON openfda.shortage_fact USING brin (run_id);

CREATE TABLE openfda.drugsfda (
    application_number text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    sponsor_name text,
    approved date,
    dosage_forms text[],
    marketing_statuses text[],
    product_brand_names text[],
    active_ingredients text[],
    brand_name text[],
    generic_name text[],
    manufacturer_name text[],
    package_ndc text[],
    pharm_class_epc text[],
    product_ndc text[],
    product_type text[],
    route text[],
    rxcui text[],
    spl_id text[],
    spl_set_id text[],
    substance_name text[],
    unii text[],
    PRIMARY KEY (application_number)
);
COMMENT ON TABLE openfda.drugsfda IS 'Applications to market a drug, with their products and submissions';
COMMENT ON COLUMN openfda.drugsfda.deleted IS 'true: a tombstone; all other columns but the key are NULL';
COMMENT ON COLUMN openfda.drugsfda.record IS 'the whole record, equal to the input, value for value';
COMMENT ON COLUMN openfda.drugsfda.approved IS 'the day the original application was approved';
CREATE INDEX drugsfda_identifiers ON openfda.drugsfda USING gin (product_ndc, spl_set_id, rxcui, unii, active_ingredients);

CREATE TABLE openfda.drugsfda_fact (
    application_number text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (application_number)
);
COMMENT ON TABLE openfda.drugsfda_fact IS 'What the loader knows of each row of openfda.drugsfda without reading it';
COMMENT ON COLUMN openfda.drugsfda_fact.version IS 'orders copies: the day of the export';
CREATE INDEX drugsfda_fact_run ON openfda.drugsfda_fact USING brin (run_id);

-- Products are the middle: a label lists product codes, a product names its application.
CREATE VIEW openfda.drug AS
SELECT n.product_id, n.product_ndc, n.brand_name, n.generic_name, n.labeler_name, n.active_ingredients,
       n.marketing_category, l.set_id, l.version AS label_version, l.effective_time AS label_effective,
       a.application_number, a.sponsor_name, a.approved
FROM openfda.ndc AS n
LEFT JOIN openfda.label AS l ON l.product_ndc @> ARRAY[n.product_ndc] AND NOT l.deleted
LEFT JOIN openfda.drugsfda AS a ON a.application_number = n.application_number AND NOT a.deleted
WHERE NOT n.deleted;
COMMENT ON VIEW openfda.drug IS 'One row a product and label of it, with the application that allows it; NULLs where there is none';

-- migrate 2 --
SELECT medmirror.keep_digest('openfda.label_fact');
SELECT medmirror.keep_digest('openfda.ndc_fact');
SELECT medmirror.keep_digest('openfda.event_fact');
SELECT medmirror.keep_digest('openfda.enforcement_fact');
SELECT medmirror.keep_digest('openfda.shortage_fact');
SELECT medmirror.keep_digest('openfda.drugsfda_fact');

-- migrate 3 --
-- What orders copies of one version: see ingest/order.py.
ALTER TABLE openfda.label_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE openfda.ndc_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE openfda.event_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE openfda.enforcement_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE openfda.shortage_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE openfda.drugsfda_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN openfda.label_fact.tie IS 'orders copies of one version: not used here';
COMMENT ON COLUMN openfda.label_fact.place IS 'orders copies of one version that nothing else orders: load, file, and place in the file';

-- migrate 4 --
-- An index never decides what can be stored. A hash index holds a text of any length (and answers = alone); the elements
-- of arrays that an index holds are cut by the reader when they are too long.
DROP INDEX openfda.ndc_product_ndc;
CREATE INDEX ndc_product_ndc ON openfda.ndc USING hash (product_ndc);
DROP INDEX openfda.ndc_application_number;
CREATE INDEX ndc_application_number ON openfda.ndc USING hash (application_number);
DROP INDEX openfda.ndc_generic_name;
CREATE INDEX ndc_generic_name ON openfda.ndc USING hash (generic_name);
DROP INDEX openfda.shortage_status;  -- of a small table with few values: nobody needs it

-- migrate 5 --
-- In which export a row was last seen: the last part of its version. Rows that are only seen again are not written again,
-- so it stands with the facts.
CREATE FUNCTION openfda.export_day(version bigint) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT CASE WHEN version & 1048575 > 0 THEN DATE '0001-01-01' + ((version & 1048575) - 1)::int END
$body$;
CREATE VIEW openfda.last_export AS
SELECT 'label' AS feed, set_id AS key, deleted, openfda.export_day(version) AS exported FROM openfda.label_fact
UNION ALL
SELECT 'ndc', product_id, deleted, openfda.export_day(version) FROM openfda.ndc_fact
UNION ALL
SELECT 'event', safetyreportid, deleted, openfda.export_day(version) FROM openfda.event_fact
UNION ALL
SELECT 'enforcement', recall_number, deleted, openfda.export_day(version) FROM openfda.enforcement_fact
UNION ALL
SELECT 'shortage', package_ndc || ' ' || shortage_key, deleted, openfda.export_day(version) FROM openfda.shortage_fact
UNION ALL
SELECT 'drugsfda', application_number, deleted, openfda.export_day(version) FROM openfda.drugsfda_fact;
COMMENT ON VIEW openfda.last_export IS
    'The day of the export in which each row was last seen; of a deleted one, the last in which it could have been';
CREATE OR REPLACE VIEW openfda.drug AS
SELECT n.product_id, n.product_ndc, n.brand_name, n.generic_name, n.labeler_name, n.active_ingredients,
       n.marketing_category, l.set_id, l.version AS label_version, l.effective_time AS label_effective,
       a.application_number, a.sponsor_name, a.approved, openfda.export_day(f.version) AS exported
FROM openfda.ndc AS n
JOIN openfda.ndc_fact AS f USING (product_id)
LEFT JOIN openfda.label AS l ON l.product_ndc @> ARRAY[n.product_ndc] AND NOT l.deleted
LEFT JOIN openfda.drugsfda AS a ON a.application_number = n.application_number AND NOT a.deleted
WHERE NOT n.deleted;
COMMENT ON COLUMN openfda.drug.exported IS 'the day of the export of drug/ndc in which the product was last seen';

-- retired ndc --
-- product_id holds the version of the label. So a product of an older export is replaced by one of the same product_ndc in a
-- newer one. Its tombstone is older than the newest export: a copy out of that lives.
SELECT product_id, version - (version & 1048575) + newest - 1 AS version
FROM (SELECT product_id, f.version, max(f.version & 1048575) OVER (PARTITION BY n.product_ndc) AS newest
      FROM openfda.ndc_fact AS f JOIN openfda.ndc AS n USING (product_id)
      WHERE NOT f.deleted AND n.product_ndc IS NOT NULL) AS product
WHERE version & 1048575 < newest
ORDER BY product_id

-- search label --
-- A tsvector holds 1 MB: of texts without a limit of their own the first part is taken.
SELECT set_id,
       setweight(medmirror.search_vector(concat_ws(' ', array_to_string(brand_name, ' '),
                                                  array_to_string(generic_name, ' '))), 'A') ||
       setweight(medmirror.search_vector(concat_ws(' ', array_to_string(substance_name, ' '),
                                                  array_to_string(manufacturer_name, ' '),
                                                  array_to_string(pharm_class_epc, ' '),
                                                  left(record #>> '{spl_product_data_elements,0}', 20000))), 'B') ||
       setweight(medmirror.search_vector(left(concat_ws(' ', record ->> 'indications_and_usage', record ->> 'purpose',
                                                       record ->> 'boxed_warning'), 50000)), 'C') ||
       setweight(medmirror.search_vector(left(concat_ws(' ', record ->> 'warnings', record ->> 'warnings_and_cautions',
                                                       record ->> 'contraindications', record ->> 'adverse_reactions',
                                                       record ->> 'drug_interactions', record ->> 'description'),
                                             200000)), 'D') AS document
FROM openfda.label
WHERE NOT deleted

-- headline label --
SELECT set_id,
       coalesce(brand_name[1], generic_name[1], left(record #>> '{spl_product_data_elements,0}', 120), set_id) AS title,
       left(concat_ws(' ', array_to_string(generic_name, ', '), record #>> '{indications_and_usage,0}',
                      record #>> '{purpose,0}', record #>> '{boxed_warning,0}', record #>> '{warnings,0}',
                      record #>> '{contraindications,0}', record #>> '{adverse_reactions,0}'), 100000) AS body
FROM openfda.label
WHERE NOT deleted

-- search ndc --
SELECT product_id,
       setweight(medmirror.search_vector(concat_ws(' ', brand_name, generic_name, product_ndc)), 'A') ||
       setweight(medmirror.search_vector(concat_ws(' ', array_to_string(active_ingredients, ' '), labeler_name)), 'B') ||
       setweight(medmirror.search_vector(concat_ws(' ', array_to_string(pharm_class, ' '), dosage_form,
                                                  array_to_string(route, ' '), application_number)), 'C') AS document
FROM openfda.ndc
WHERE NOT deleted

-- headline ndc --
SELECT product_id, concat_ws(' ', brand_name, '(' || product_ndc || ')') AS title,
       concat_ws(' ', generic_name, dosage_form, array_to_string(active_ingredients, ', '), labeler_name,
                 array_to_string(pharm_class, ', '), application_number) AS body
FROM openfda.ndc
WHERE NOT deleted

-- search event --
SELECT safetyreportid,
       setweight(medmirror.search_vector(left(concat_ws(' ', array_to_string(drugs, ' ')), 100000)), 'A') ||
       setweight(medmirror.search_vector(left(concat_ws(' ', array_to_string(reactions, ' ')), 100000)), 'B') ||
       setweight(medmirror.search_vector(left(concat_ws(' ', array_to_string(substance_name, ' '),
                                                       array_to_string(indications, ' ')), 100000)), 'C') AS document
FROM openfda.event
WHERE NOT deleted

-- headline event --
SELECT safetyreportid, coalesce(left(array_to_string(drugs, ', '), 200), safetyreportid) AS title,
       left(concat_ws(' ', array_to_string(reactions, ', '), array_to_string(indications, ', '),
                      array_to_string(drugs, ', ')), 100000) AS body
FROM openfda.event
WHERE NOT deleted

-- search enforcement --
SELECT recall_number,
       setweight(medmirror.search_vector(concat_ws(' ', recall_number, recalling_firm, array_to_string(brand_name, ' '),
                                                  array_to_string(generic_name, ' '))), 'A') ||
       setweight(medmirror.search_vector(coalesce(left(product_description, 100000), '')), 'B') ||
       setweight(medmirror.search_vector(coalesce(left(reason_for_recall, 100000), '')), 'C') AS document
FROM openfda.enforcement
WHERE NOT deleted

-- headline enforcement --
SELECT recall_number, concat_ws(': ', recalling_firm, left(product_description, 160)) AS title,
       concat_ws(' ', reason_for_recall, product_description) AS body
FROM openfda.enforcement
WHERE NOT deleted

-- search shortage --
SELECT package_ndc, shortage_key,
       setweight(medmirror.search_vector(concat_ws(' ', generic_name, proprietary_name, package_ndc,
                                                  array_to_string(brand_name, ' '))), 'A') ||
       setweight(medmirror.search_vector(concat_ws(' ', presentation, company_name,
                                                  array_to_string(substance_name, ' '))), 'B') ||
       setweight(medmirror.search_vector(concat_ws(' ', shortage_reason, availability,
                                                  array_to_string(therapeutic_category, ' '))), 'C') AS document
FROM openfda.shortage
WHERE NOT deleted

-- headline shortage --
SELECT package_ndc, shortage_key, concat_ws(', ', generic_name, company_name) AS title,
       concat_ws(' ', presentation, status, availability, shortage_reason) AS body
FROM openfda.shortage
WHERE NOT deleted

-- search drugsfda --
SELECT application_number,
       setweight(medmirror.search_vector(concat_ws(' ', application_number,
                                                  array_to_string(product_brand_names, ' '))), 'A') ||
       setweight(medmirror.search_vector(concat_ws(' ', array_to_string(active_ingredients, ' '), sponsor_name)), 'B') ||
       setweight(medmirror.search_vector(concat_ws(' ', array_to_string(generic_name, ' '),
                                                  array_to_string(pharm_class_epc, ' '),
                                                  array_to_string(dosage_forms, ' '))), 'C') AS document
FROM openfda.drugsfda
WHERE NOT deleted

-- headline drugsfda --
SELECT application_number, concat_ws(': ', application_number, array_to_string(product_brand_names, ', ')) AS title,
       concat_ws(' ', sponsor_name, array_to_string(active_ingredients, ', '), array_to_string(dosage_forms, ', '),
                 array_to_string(marketing_statuses, ', ')) AS body
FROM openfda.drugsfda
WHERE NOT deleted
