-- Cliniko: a table a kind of record with its facts, one of deletions, and views that put them together. The column
-- `record` holds the record as the API gave it; the others are there to filter and join by, and the views (in the plural)
-- have the rest, typed. An empty text is NULL everywhere but in `record`.

-- migrate 1 --
CREATE SCHEMA IF NOT EXISTS cliniko;
COMMENT ON SCHEMA cliniko IS 'Clinics'' records out of Cliniko, organisation by organisation';

CREATE TABLE cliniko.patient (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    archived_at timestamptz,
    deleted_at timestamptz,
    first_name text,
    last_name text,
    email text,
    date_of_birth date,
    PRIMARY KEY (organization_id, id)
);
COMMENT ON TABLE cliniko.patient IS 'One row a patient, the newest copy loaded';
CREATE INDEX patient_last_name ON cliniko.patient (organization_id, last_name, first_name);
CREATE INDEX patient_date_of_birth ON cliniko.patient (organization_id, date_of_birth);
CREATE TABLE cliniko.patient_fact (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX patient_fact_run ON cliniko.patient_fact USING brin (run_id);
SELECT medmirror.wall_off('cliniko.patient');
SELECT medmirror.wall_off('cliniko.patient_fact');
SELECT medmirror.keep_digest('cliniko.patient_fact');

CREATE TABLE cliniko.appointment (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    archived_at timestamptz,
    deleted_at timestamptz,
    cancelled_at timestamptz,
    starts_at timestamptz,
    ends_at timestamptz,
    patient_id text,
    practitioner_id text,
    business_id text,
    appointment_type_id text,
    did_not_arrive boolean,
    patient_arrived boolean,
    PRIMARY KEY (organization_id, id)
);
COMMENT ON TABLE cliniko.appointment IS 'One row an individual appointment';
CREATE INDEX appointment_patient_id ON cliniko.appointment (organization_id, patient_id);
CREATE INDEX appointment_practitioner_id ON cliniko.appointment (organization_id, practitioner_id);
CREATE INDEX appointment_starts_at ON cliniko.appointment (organization_id, starts_at);
CREATE TABLE cliniko.appointment_fact (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX appointment_fact_run ON cliniko.appointment_fact USING brin (run_id);
SELECT medmirror.wall_off('cliniko.appointment');
SELECT medmirror.wall_off('cliniko.appointment_fact');
SELECT medmirror.keep_digest('cliniko.appointment_fact');

CREATE TABLE cliniko.practitioner (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    archived_at timestamptz,
    deleted_at timestamptz,
    first_name text,
    last_name text,
    active boolean,
    user_id text,
    default_appointment_type_id text,
    PRIMARY KEY (organization_id, id)
);
COMMENT ON TABLE cliniko.practitioner IS 'One row a practitioner, inactive ones too';
CREATE TABLE cliniko.practitioner_fact (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX practitioner_fact_run ON cliniko.practitioner_fact USING brin (run_id);
SELECT medmirror.wall_off('cliniko.practitioner');
SELECT medmirror.wall_off('cliniko.practitioner_fact');
SELECT medmirror.keep_digest('cliniko.practitioner_fact');

CREATE TABLE cliniko.business (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    archived_at timestamptz,
    deleted_at timestamptz,
    business_name text,
    PRIMARY KEY (organization_id, id)
);
COMMENT ON TABLE cliniko.business IS 'One row a business, which is a place of the clinic';
CREATE TABLE cliniko.business_fact (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX business_fact_run ON cliniko.business_fact USING brin (run_id);
SELECT medmirror.wall_off('cliniko.business');
SELECT medmirror.wall_off('cliniko.business_fact');
SELECT medmirror.keep_digest('cliniko.business_fact');

CREATE TABLE cliniko.appointment_type (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    archived_at timestamptz,
    deleted_at timestamptz,
    name text,
    duration_in_minutes integer,
    PRIMARY KEY (organization_id, id)
);
COMMENT ON TABLE cliniko.appointment_type IS 'One row a type of appointment';
CREATE TABLE cliniko.appointment_type_fact (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX appointment_type_fact_run ON cliniko.appointment_type_fact USING brin (run_id);
SELECT medmirror.wall_off('cliniko.appointment_type');
SELECT medmirror.wall_off('cliniko.appointment_type_fact');
SELECT medmirror.keep_digest('cliniko.appointment_type_fact');

CREATE TABLE cliniko.attachment (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    archived_at timestamptz,
    deleted_at timestamptz,
    filename text,
    content_type text,
    size integer,
    processing_completed boolean,
    patient_id text,
    user_id text,
    PRIMARY KEY (organization_id, id)
);
COMMENT ON TABLE cliniko.attachment IS 'One row a file of a patient; its content is not here';
CREATE INDEX attachment_patient_id ON cliniko.attachment (organization_id, patient_id);
CREATE TABLE cliniko.attachment_fact (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX attachment_fact_run ON cliniko.attachment_fact USING brin (run_id);
SELECT medmirror.wall_off('cliniko.attachment');
SELECT medmirror.wall_off('cliniko.attachment_fact');
SELECT medmirror.keep_digest('cliniko.attachment_fact');

CREATE TABLE cliniko.invoice (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    created_at timestamptz,
    updated_at timestamptz,
    archived_at timestamptz,
    deleted_at timestamptz,
    closed_at timestamptz,
    number text,
    issue_date date,
    patient_id text,
    practitioner_id text,
    business_id text,
    appointment_id text,
    PRIMARY KEY (organization_id, id)
);
COMMENT ON TABLE cliniko.invoice IS 'One row an invoice';
CREATE INDEX invoice_patient_id ON cliniko.invoice (organization_id, patient_id);
CREATE INDEX invoice_issue_date ON cliniko.invoice (organization_id, issue_date);
CREATE TABLE cliniko.invoice_fact (
    organization_id text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX invoice_fact_run ON cliniko.invoice_fact USING brin (run_id);
SELECT medmirror.wall_off('cliniko.invoice');
SELECT medmirror.wall_off('cliniko.invoice_fact');
SELECT medmirror.keep_digest('cliniko.invoice_fact');

CREATE TABLE cliniko.deletion (
    organization_id text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    record jsonb,
    deleted_at timestamptz,
    PRIMARY KEY (organization_id, kind, id)
);
COMMENT ON TABLE cliniko.deletion IS 
    'One row an entry of a list of deleted records: what is known of the record stays in its own table';
CREATE TABLE cliniko.deletion_fact (
    organization_id text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, kind, id)
);
CREATE INDEX deletion_fact_run ON cliniko.deletion_fact USING brin (run_id);
SELECT medmirror.wall_off('cliniko.deletion');
SELECT medmirror.wall_off('cliniko.deletion_fact');
SELECT medmirror.keep_digest('cliniko.deletion_fact');

COMMENT ON COLUMN cliniko.deletion.kind IS 'the feed of the record that was deleted: patient, appointment, invoice ...';
COMMENT ON COLUMN cliniko.patient.record IS 'the patient as given, equal to the input, value for value';
COMMENT ON COLUMN cliniko.patient.deleted IS 'always false: deletions are in deleted_at and in cliniko.deletion';
COMMENT ON COLUMN cliniko.appointment.patient_id IS
    'cliniko.patient.id, cut from the link; after a merge that of the patient who stays';
COMMENT ON COLUMN cliniko.attachment.size IS 'bytes; NULL from 2 GB on, see the view attachments';
COMMENT ON COLUMN cliniko.patient_fact.version IS
    'orders copies: microseconds since 1970 of updated_at, or of archived_at, cancelled_at, deleted_at where that is later';

CREATE FUNCTION cliniko.filled(record jsonb, name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT nullif(record->>name, '')
$body$;
COMMENT ON FUNCTION cliniko.filled(jsonb, text) IS 'a value as text; NULL for an empty text';

CREATE FUNCTION cliniko.linked(record jsonb, name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT substring(record #>> ARRAY[name, 'links', 'self'] FROM '([^/?#]+)/*([?#].*)?$')
$body$;
COMMENT ON FUNCTION cliniko.linked(jsonb, text) IS 'the id that a link to another record ends with';

CREATE FUNCTION cliniko.flag(record jsonb, name text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT CASE record->name WHEN 'true' THEN true WHEN 'false' THEN false END
$body$;
COMMENT ON FUNCTION cliniko.flag(jsonb, text) IS 'true, false, or NULL for anything else';

CREATE FUNCTION cliniko.amount(record jsonb, name text) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT CASE WHEN record->>name ~ '^-?[0-9]{1,30}(\.[0-9]{1,30})?$' THEN CAST(record->>name AS numeric) END
$body$;
COMMENT ON FUNCTION cliniko.amount(jsonb, text) IS 'a number, also one that is given as text; NULL for anything else';

-- How a record ended: a later change than the deletion that a list told of means that it was brought back.
CREATE FUNCTION cliniko.ended(own timestamptz, listed timestamptz, updated timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
    SELECT coalesce(own, CASE WHEN listed >= updated OR updated IS NULL THEN listed END)
$body$;
COMMENT ON FUNCTION cliniko.ended(timestamptz, timestamptz, timestamptz) IS
    'when a record was deleted, as it says itself or a list of deleted ones does; NULL for one that was not';

CREATE VIEW cliniko.patients AS
SELECT p.organization_id, p.id,
       CASE WHEN e.deleted_at IS NOT NULL THEN 'deleted' WHEN p.archived_at IS NOT NULL THEN 'archived' END AS tombstone,
       m.canonical_id,
       cliniko.filled(p.record, 'title') AS title, p.first_name, p.last_name,
       cliniko.filled(p.record, 'preferred_first_name') AS preferred_first_name,
       CASE WHEN jsonb_typeof(p.record->'pronouns') = 'object' THEN p.record->'pronouns' END AS pronouns,
       p.date_of_birth, cliniko.filled(p.record, 'sex') AS sex, cliniko.filled(p.record, 'gender') AS gender,
       cliniko.filled(p.record, 'gender_identity') AS gender_identity, p.email,
       ARRAY(SELECT n #>> '{}' FROM jsonb_path_query(p.record, 'lax $.patient_phone_numbers[*].number') AS n
             WHERE n #>> '{}' <> '') AS phones,
       cliniko.filled(p.record, 'address_1') AS address_1, cliniko.filled(p.record, 'address_2') AS address_2,
       cliniko.filled(p.record, 'address_3') AS address_3, cliniko.filled(p.record, 'city') AS city,
       cliniko.filled(p.record, 'state') AS state, cliniko.filled(p.record, 'post_code') AS post_code,
       cliniko.filled(p.record, 'country') AS country, cliniko.filled(p.record, 'time_zone') AS time_zone,
       cliniko.filled(p.record, 'occupation') AS occupation,
       cliniko.filled(p.record, 'emergency_contact') AS emergency_contact,
       cliniko.filled(p.record, 'medicare') AS medicare,
       cliniko.filled(p.record, 'medicare_reference_number') AS medicare_reference_number,
       cliniko.filled(p.record, 'dva_card_number') AS dva_card_number,
       cliniko.filled(p.record, 'old_reference_id') AS old_reference_id,
       cliniko.filled(p.record, 'notes') AS notes, cliniko.filled(p.record, 'appointment_notes') AS appointment_notes,
       cliniko.filled(p.record, 'referral_source') AS referral_source,
       cliniko.filled(p.record, 'reminder_type') AS reminder_type,
       cliniko.flag(p.record, 'receives_confirmation_emails') AS receives_confirmation_emails,
       cliniko.flag(p.record, 'accepted_privacy_policy') AS accepted_privacy_policy,
       cliniko.flag(p.record, 'accepted_email_marketing') AS accepted_email_marketing,
       cliniko.flag(p.record, 'accepted_sms_marketing') AS accepted_sms_marketing,
       cliniko.filled(p.record, 'invoice_default_to') AS invoice_default_to,
       cliniko.filled(p.record, 'invoice_email') AS invoice_email,
       cliniko.filled(p.record, 'invoice_extra_information') AS invoice_extra_information,
       cliniko.linked(p.record, 'concession_type') AS concession_type_id,
       cliniko.linked(p.record, 'referring_doctor') AS referring_doctor_id,
       p.created_at, p.updated_at, p.archived_at, e.deleted_at
FROM cliniko.patient AS p
LEFT JOIN cliniko.deletion AS d ON d.organization_id = p.organization_id AND d.kind = 'patient' AND d.id = p.id
CROSS JOIN LATERAL cliniko.ended(p.deleted_at, d.deleted_at, p.updated_at) AS e(deleted_at)
LEFT JOIN medmirror.sync_mapping AS m
    ON m.organization_id = p.organization_id AND m.source = 'cliniko' AND m.feed = 'patient' AND m.source_id = p.id
WHERE NOT p.deleted;
COMMENT ON VIEW cliniko.patients IS
    'One row a patient. tombstone: deleted, archived or NULL; canonical_id: the same for records that are the same person';

CREATE VIEW cliniko.patient_phones AS
SELECT p.organization_id, p.id AS patient_id, CAST(n.position AS int) AS position,
       cliniko.filled(n.phone, 'phone_type') AS phone_type, cliniko.filled(n.phone, 'number') AS number
FROM cliniko.patient AS p
CROSS JOIN LATERAL jsonb_path_query(p.record, 'lax $.patient_phone_numbers[*]') WITH ORDINALITY AS n(phone, position)
WHERE NOT p.deleted;
COMMENT ON VIEW cliniko.patient_phones IS 'One row a phone number of each patient, as written';

CREATE VIEW cliniko.patient_custom_fields AS
SELECT p.organization_id, p.id AS patient_id, cliniko.filled(s.section, 'name') AS section,
       cliniko.filled(s.section, 'token') AS section_token, cliniko.filled(f.field, 'name') AS field,
       cliniko.filled(f.field, 'token') AS field_token, cliniko.filled(f.field, 'type') AS type,
       coalesce(cliniko.filled(f.field, 'value'), o.other, array_to_string(c.chosen, ', ')) AS value,
       c.chosen AS options, o.other,
       CAST(s.position AS int) AS section_position, CAST(f.position AS int) AS position
FROM cliniko.patient AS p
CROSS JOIN LATERAL jsonb_path_query(p.record, 'lax $.custom_fields.sections[*]') WITH ORDINALITY AS s(section, position)
CROSS JOIN LATERAL jsonb_path_query(s.section, 'lax $.fields[*]') WITH ORDINALITY AS f(field, position)
CROSS JOIN LATERAL (
    SELECT nullif(ARRAY(SELECT option->>'name'
                        FROM jsonb_path_query(f.field, 'lax $.options[*] ? (@.selected == true)') AS option), '{}')
) AS c(chosen)
CROSS JOIN LATERAL (
    SELECT CASE WHEN f.field #> '{other,selected}' = 'true' THEN cliniko.filled(f.field->'other', 'value') END
) AS o(other)
WHERE NOT p.deleted;
COMMENT ON VIEW cliniko.patient_custom_fields IS
    'One row a custom field of each patient. value: what was written or chosen, as text; options: the chosen ones';

CREATE VIEW cliniko.appointments AS
SELECT a.organization_id, a.id,
       CASE WHEN e.deleted_at IS NOT NULL THEN 'deleted' WHEN a.archived_at IS NOT NULL THEN 'archived'
            WHEN a.cancelled_at IS NOT NULL THEN 'cancelled' END AS tombstone,
       a.starts_at, a.ends_at, a.patient_id, m.canonical_id AS canonical_patient_id, a.practitioner_id, a.business_id,
       a.appointment_type_id, a.did_not_arrive, a.patient_arrived,
       cliniko.filled(a.record, 'patient_name') AS patient_name, cliniko.filled(a.record, 'notes') AS notes,
       cliniko.filled(a.record, 'cancellation_reason') AS cancellation_reason,
       cliniko.filled(a.record, 'cancellation_reason_description') AS cancellation_reason_description,
       cliniko.filled(a.record, 'cancellation_note') AS cancellation_note,
       cliniko.filled(a.record, 'booking_ip_address') AS booking_ip_address,
       cliniko.flag(a.record, 'email_reminder_sent') AS email_reminder_sent,
       cliniko.flag(a.record, 'sms_reminder_sent') AS sms_reminder_sent,
       cliniko.filled(a.record, 'invoice_status') AS invoice_status,
       cliniko.filled(a.record, 'treatment_note_status') AS treatment_note_status,
       cliniko.flag(a.record, 'online_booking_policy_accepted') AS online_booking_policy_accepted,
       nullif(a.record->'repeat_rule', '{}') AS repeat_rule,
       a.created_at, a.updated_at, a.cancelled_at, a.archived_at, e.deleted_at
FROM cliniko.appointment AS a
LEFT JOIN cliniko.deletion AS d ON d.organization_id = a.organization_id AND d.kind = 'appointment' AND d.id = a.id
CROSS JOIN LATERAL cliniko.ended(a.deleted_at, d.deleted_at, a.updated_at) AS e(deleted_at)
LEFT JOIN medmirror.sync_mapping AS m
    ON m.organization_id = a.organization_id AND m.source = 'cliniko' AND m.feed = 'patient' AND m.source_id = a.patient_id
WHERE NOT a.deleted;
COMMENT ON VIEW cliniko.appointments IS
    'One row an appointment. canonical_patient_id: whose it is, also where the patient was joined with another record';

CREATE VIEW cliniko.practitioners AS
SELECT p.organization_id, p.id,
       CASE WHEN e.deleted_at IS NOT NULL THEN 'deleted' WHEN p.archived_at IS NOT NULL THEN 'archived' END AS tombstone,
       cliniko.filled(p.record, 'title') AS title, p.first_name, p.last_name,
       cliniko.filled(p.record, 'designation') AS designation, cliniko.filled(p.record, 'description') AS description,
       cliniko.filled(p.record, 'label') AS label, p.active,
       cliniko.flag(p.record, 'show_in_online_bookings') AS show_in_online_bookings, p.user_id,
       p.default_appointment_type_id, p.created_at, p.updated_at, p.archived_at, e.deleted_at
FROM cliniko.practitioner AS p
LEFT JOIN cliniko.deletion AS d ON d.organization_id = p.organization_id AND d.kind = 'practitioner' AND d.id = p.id
CROSS JOIN LATERAL cliniko.ended(p.deleted_at, d.deleted_at, p.updated_at) AS e(deleted_at)
WHERE NOT p.deleted;
COMMENT ON VIEW cliniko.practitioners IS 'One row a practitioner';

CREATE VIEW cliniko.businesses AS
SELECT b.organization_id, b.id,
       CASE WHEN e.deleted_at IS NOT NULL THEN 'deleted' WHEN b.archived_at IS NOT NULL THEN 'archived' END AS tombstone,
       b.business_name, cliniko.filled(b.record, 'label') AS label,
       cliniko.filled(b.record, 'business_registration_name') AS business_registration_name,
       cliniko.filled(b.record, 'business_registration_value') AS business_registration_value,
       cliniko.filled(b.record, 'address_1') AS address_1, cliniko.filled(b.record, 'address_2') AS address_2,
       cliniko.filled(b.record, 'city') AS city, cliniko.filled(b.record, 'state') AS state,
       cliniko.filled(b.record, 'post_code') AS post_code, cliniko.filled(b.record, 'country') AS country,
       cliniko.filled(b.record, 'time_zone') AS time_zone,
       cliniko.filled(b.record, 'contact_information') AS contact_information,
       cliniko.filled(b.record, 'website_address') AS website_address,
       cliniko.flag(b.record, 'show_in_online_bookings') AS show_in_online_bookings,
       b.created_at, b.updated_at, b.archived_at, e.deleted_at
FROM cliniko.business AS b
LEFT JOIN cliniko.deletion AS d ON d.organization_id = b.organization_id AND d.kind = 'business' AND d.id = b.id
CROSS JOIN LATERAL cliniko.ended(b.deleted_at, d.deleted_at, b.updated_at) AS e(deleted_at)
WHERE NOT b.deleted;
COMMENT ON VIEW cliniko.businesses IS 'One row a business: a place where patients are seen';

CREATE VIEW cliniko.appointment_types AS
SELECT t.organization_id, t.id,
       CASE WHEN e.deleted_at IS NOT NULL THEN 'deleted' WHEN t.archived_at IS NOT NULL THEN 'archived' END AS tombstone,
       t.name, cliniko.filled(t.record, 'category') AS category, cliniko.filled(t.record, 'description') AS description,
       cliniko.filled(t.record, 'color') AS color, t.duration_in_minutes,
       cliniko.amount(t.record, 'max_attendees') AS max_attendees,
       cliniko.flag(t.record, 'show_in_online_bookings') AS show_in_online_bookings,
       t.created_at, t.updated_at, t.archived_at, e.deleted_at
FROM cliniko.appointment_type AS t
LEFT JOIN cliniko.deletion AS d ON d.organization_id = t.organization_id AND d.kind = 'appointment_type' AND d.id = t.id
CROSS JOIN LATERAL cliniko.ended(t.deleted_at, d.deleted_at, t.updated_at) AS e(deleted_at)
WHERE NOT t.deleted;
COMMENT ON VIEW cliniko.appointment_types IS 'One row a type of appointment';

CREATE VIEW cliniko.attachments AS
SELECT a.organization_id, a.id,
       CASE WHEN e.deleted_at IS NOT NULL THEN 'deleted' WHEN a.archived_at IS NOT NULL THEN 'archived' END AS tombstone,
       a.patient_id, m.canonical_id AS canonical_patient_id, a.filename, a.content_type,
       cliniko.amount(a.record, 'size') AS size, cliniko.filled(a.record, 'description') AS description,
       a.processing_completed, a.user_id, a.record #>> '{content,links,self}' AS content_link,
       a.created_at, a.updated_at, a.archived_at, e.deleted_at
FROM cliniko.attachment AS a
LEFT JOIN cliniko.deletion AS d ON d.organization_id = a.organization_id AND d.kind = 'attachment' AND d.id = a.id
CROSS JOIN LATERAL cliniko.ended(a.deleted_at, d.deleted_at, a.updated_at) AS e(deleted_at)
LEFT JOIN medmirror.sync_mapping AS m
    ON m.organization_id = a.organization_id AND m.source = 'cliniko' AND m.feed = 'patient' AND m.source_id = a.patient_id
WHERE NOT a.deleted;
COMMENT ON VIEW cliniko.attachments IS 'One row a file of a patient; content_link is where the API has its content';

CREATE VIEW cliniko.invoices AS
SELECT i.organization_id, i.id,
       CASE WHEN e.deleted_at IS NOT NULL THEN 'deleted' WHEN i.archived_at IS NOT NULL THEN 'archived' END AS tombstone,
       i.number, i.issue_date, cliniko.filled(i.record, 'status') AS status,
       cliniko.filled(i.record, 'status_description') AS status_description,
       cliniko.amount(i.record, 'net_amount') AS net_amount, cliniko.amount(i.record, 'tax_amount') AS tax_amount,
       cliniko.amount(i.record, 'discounted_amount') AS discounted_amount,
       cliniko.amount(i.record, 'total_amount') AS total_amount, cliniko.filled(i.record, 'invoice_to') AS invoice_to,
       cliniko.filled(i.record, 'notes') AS notes, i.patient_id, m.canonical_id AS canonical_patient_id,
       i.practitioner_id, i.business_id, i.appointment_id, i.closed_at, i.created_at, i.updated_at, i.archived_at,
       e.deleted_at
FROM cliniko.invoice AS i
LEFT JOIN cliniko.deletion AS d ON d.organization_id = i.organization_id AND d.kind = 'invoice' AND d.id = i.id
CROSS JOIN LATERAL cliniko.ended(i.deleted_at, d.deleted_at, i.updated_at) AS e(deleted_at)
LEFT JOIN medmirror.sync_mapping AS m
    ON m.organization_id = i.organization_id AND m.source = 'cliniko' AND m.feed = 'patient' AND m.source_id = i.patient_id
WHERE NOT i.deleted;
COMMENT ON VIEW cliniko.invoices IS 'One row an invoice';

CREATE VIEW cliniko.deletions AS
SELECT d.organization_id, d.kind, d.id, d.deleted_at
FROM cliniko.deletion AS d
WHERE NOT d.deleted;
COMMENT ON VIEW cliniko.deletions IS 'One row a record that a list of deleted ones told of, whether or not it was ever seen';

SELECT medmirror.show_safely('cliniko.patients');
SELECT medmirror.show_safely('cliniko.patient_phones');
SELECT medmirror.show_safely('cliniko.patient_custom_fields');
SELECT medmirror.show_safely('cliniko.appointments');
SELECT medmirror.show_safely('cliniko.practitioners');
SELECT medmirror.show_safely('cliniko.businesses');
SELECT medmirror.show_safely('cliniko.appointment_types');
SELECT medmirror.show_safely('cliniko.attachments');
SELECT medmirror.show_safely('cliniko.invoices');
SELECT medmirror.show_safely('cliniko.deletions');

-- migrate 2 --
-- What orders copies of one version: see ingest/order.py.
ALTER TABLE cliniko.patient_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE cliniko.appointment_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE cliniko.practitioner_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE cliniko.business_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE cliniko.appointment_type_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE cliniko.attachment_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE cliniko.invoice_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE cliniko.deletion_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN cliniko.patient_fact.tie IS 'orders copies of one version: not used here';
COMMENT ON COLUMN cliniko.patient_fact.place IS 'orders copies of one version that nothing else orders: load, file, and place in the file';

-- migrate 3 --
-- An index never decides what can be stored: this one holds the beginnings of names.
DROP INDEX cliniko.patient_last_name;
CREATE INDEX patient_last_name ON cliniko.patient
    (organization_id, pg_catalog.left(last_name, 100), pg_catalog.left(first_name, 100));
