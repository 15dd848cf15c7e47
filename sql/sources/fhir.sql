-- FHIR, R4 and STU3: one table for resources of every type, each as it came, and typed views of those that practices work
-- with. A date that says less than a day (2012, 2012-05) stands in a view as it was said, and beside it, in a column that
-- ends in _from or _day, the first moment or day that it can mean. Of a reference stands what it says (.._reference) and
-- what it points to (.._id); the latter is NULL when nobody can tell.

-- migrate 1 --
CREATE SCHEMA IF NOT EXISTS fhir;
COMMENT ON SCHEMA fhir IS 'Resources of FHIR servers, organisation by organisation';

CREATE TABLE fhir.resource (
    organization_id text NOT NULL,
    resource_type text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    resource jsonb,
    version text,
    last_updated timestamptz,
    full_url text,
    PRIMARY KEY (organization_id, resource_type, id)
);
COMMENT ON TABLE fhir.resource IS 'One row a resource, the newest copy loaded';
COMMENT ON COLUMN fhir.resource.deleted IS 'true: a tombstone; all other columns but the key are NULL';
COMMENT ON COLUMN fhir.resource.resource IS 'the resource, equal to the input, value for value';
COMMENT ON COLUMN fhir.resource.version IS 'meta.versionId';
COMMENT ON COLUMN fhir.resource.last_updated IS 'meta.lastUpdated; NULL when absent, or no moment of any calendar';
COMMENT ON COLUMN fhir.resource.full_url IS 'fullUrl of the entry that it came in, by which others may refer to it';
CREATE INDEX resource_full_url ON fhir.resource (organization_id, full_url) WHERE full_url IS NOT NULL;

CREATE TABLE fhir.resource_fact (
    organization_id text NOT NULL,
    resource_type text NOT NULL,
    id text NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (organization_id, resource_type, id)
);
COMMENT ON TABLE fhir.resource_fact IS 'What the loader knows of each resource without reading it';
COMMENT ON COLUMN fhir.resource_fact.version IS
    'orders copies: microseconds of meta.lastUpdated, or of the time of the export or Bundle, or meta.versionId';
CREATE INDEX resource_fact_run ON fhir.resource_fact USING brin (run_id);

SELECT medmirror.wall_off('fhir.resource');
SELECT medmirror.wall_off('fhir.resource_fact');
SELECT medmirror.keep_digest('fhir.resource_fact', named_by => 'resource_type');

-- Behind a wall Postgres uses an index only for comparisons that can leak nothing: equal texts, not parts of jsonb. So the
-- identifiers that others refer by stand in a table of their own.
CREATE TABLE fhir.identifier (
    organization_id text NOT NULL,
    resource_type text NOT NULL,
    value text NOT NULL,
    system text NOT NULL,
    id text NOT NULL,
    PRIMARY KEY (organization_id, resource_type, value, system, id)
);
COMMENT ON TABLE fhir.identifier IS
    'Business identifiers of the resources that are referred to by them (people, organisations, places); kept by triggers';
COMMENT ON COLUMN fhir.identifier.system IS 'an empty text when there is none';
CREATE INDEX identifier_id ON fhir.identifier (id);  -- alone: no statistics mislead the planner to look up a value by it
SELECT medmirror.wall_off('fhir.identifier');

CREATE FUNCTION fhir.keep_identifiers() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        TRUNCATE fhir.identifier;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM fhir.identifier AS i
        WHERE i.organization_id = OLD.organization_id AND i.resource_type = OLD.resource_type AND i.id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO fhir.identifier (organization_id, resource_type, value, system, id)
        SELECT NEW.organization_id, NEW.resource_type, said.value, coalesce(said.system, ''), NEW.id
        FROM jsonb_path_query(NEW.resource, '$.identifier[*]') AS one,
             LATERAL (SELECT one ->> 'value' AS value, one ->> 'system' AS system) AS said
        WHERE length(said.value) <= 500 AND length(coalesce(said.system, '')) <= 500
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$body$;
DO $body$
DECLARE
    named text := $$('Patient', 'Practitioner', 'PractitionerRole', 'Organization', 'Location', 'HealthcareService',
                     'CareTeam', 'Device', 'Coverage')$$;
BEGIN
    EXECUTE format('CREATE TRIGGER made AFTER INSERT ON fhir.resource FOR EACH ROW WHEN (NEW.resource_type IN %s)'
                   ' EXECUTE FUNCTION fhir.keep_identifiers()', named);
    EXECUTE format('CREATE TRIGGER changed AFTER UPDATE ON fhir.resource FOR EACH ROW'
                   ' WHEN (NEW.resource_type IN %1$s OR OLD.resource_type IN %1$s)'
                   ' EXECUTE FUNCTION fhir.keep_identifiers()', named);
    EXECUTE format('CREATE TRIGGER removed AFTER DELETE ON fhir.resource FOR EACH ROW WHEN (OLD.resource_type IN %s)'
                   ' EXECUTE FUNCTION fhir.keep_identifiers()', named);
END
$body$;
CREATE TRIGGER emptied AFTER TRUNCATE ON fhir.resource FOR EACH STATEMENT EXECUTE FUNCTION fhir.keep_identifiers();

-- migrate 2 --
CREATE FUNCTION fhir.moment(said text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
DECLARE
    -- By place and not by a regular expression, which would cost ten times as much.
    shape text := translate(said, '012345678', '999999999');
    tail text := substring(said FROM 20);
    year int;
    month int := 1;
    day int := 1;
    seconds double precision := 0;
    away int := 0;
    first date;
BEGIN
    IF shape NOT IN ('9999', '9999-99', '9999-99-99') AND left(shape, 16) <> '9999-99-99T99:99' THEN
        RETURN NULL;
    END IF;
    year := left(said, 4);
    month := coalesce(nullif(substring(said FROM 6 FOR 2), ''), '1');
    day := coalesce(nullif(substring(said FROM 9 FOR 2), ''), '1');
    IF year = 0 OR month NOT BETWEEN 1 AND 12 OR day NOT BETWEEN 1 AND 31 THEN
        RETURN NULL;
    END IF;
    first := make_date(year, month, 1) + (day - 1);
    IF extract(month FROM first) <> month THEN
        RETURN NULL;
    END IF;
    IF length(said) > 10 THEN
        IF left(shape, 19) <> '9999-99-99T99:99:99' THEN  -- without seconds
            tail := substring(said FROM 17);
        END IF;
        seconds := 3600 * CAST(substring(said FROM 12 FOR 2) AS int) + 60 * CAST(substring(said FROM 15 FOR 2) AS int);
        IF substring(said FROM 12 FOR 2) > '23' OR substring(said FROM 15 FOR 2) > '59' THEN
            RETURN NULL;
        END IF;
        IF right(tail, 1) = 'Z' THEN
            tail := left(tail, -1);
        ELSIF right(shape, 6) IN ('+99:99', '-99:99') AND length(tail) >= 6 THEN
            away := 3600 * CAST(substring(right(said, 5) FROM 1 FOR 2) AS int) + 60 * CAST(right(said, 2) AS int);
            IF away >= 86400 OR right(said, 2) > '59' THEN
                RETURN NULL;
            END IF;
            away := CASE left(right(said, 6), 1) WHEN '-' THEN away ELSE -away END;
            tail := left(tail, -6);
        END IF;
        IF left(shape, 19) = '9999-99-99T99:99:99' THEN
            IF tail <> '' AND tail !~ '^[.][0-9]+$' OR substring(said FROM 18 FOR 2) > '60' THEN
                RETURN NULL;
            END IF;
            seconds := seconds + CAST(substring(said FROM 18 FOR 2) || tail AS double precision);
        ELSIF tail <> '' THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN (first + make_interval(secs => seconds + away)) AT TIME ZONE 'UTC';
END
$body$;
COMMENT ON FUNCTION fhir.moment(text) IS
    'the first moment that a FHIR date, dateTime or instant can mean (UTC unless it says otherwise); NULL for no such date';

CREATE FUNCTION fhir.day(said text) RETURNS date LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT CAST(fhir.moment(substring(said FROM 1 FOR 10)) AT TIME ZONE 'UTC' AS date)
$body$;
COMMENT ON FUNCTION fhir.day(text) IS 'the first day that a date or dateTime can mean, as it is said; NULL for no such date';

CREATE FUNCTION fhir.preferred(several jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT one
    FROM jsonb_path_query(several, '$[*]') WITH ORDINALITY AS listed(one, place)
    ORDER BY CASE one ->> 'use' WHEN 'official' THEN 0 WHEN 'usual' THEN 1
                                WHEN 'old' THEN 3 WHEN 'maiden' THEN 3 WHEN 'temp' THEN 3 ELSE 2 END, place
    LIMIT 1
$body$;
COMMENT ON FUNCTION fhir.preferred(jsonb) IS 'the name or address to show of several: official, usual, any, last an old one';

CREATE FUNCTION fhir.contact(several jsonb, kind text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT one ->> 'value'
    FROM jsonb_path_query(several, '$[*]') WITH ORDINALITY AS listed(one, place)
    WHERE one ->> 'system' = kind
    ORDER BY one ->> 'use' IN ('old', 'temp'), jsonb_typeof(one -> 'rank') = 'number' DESC, one -> 'rank', place
    LIMIT 1
$body$;
COMMENT ON FUNCTION fhir.contact(jsonb, text) IS 'the phone, email ... to use of several: by rank, last an old one';

CREATE FUNCTION fhir.code(said jsonb) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT coalesce(said #>> '{coding,0,code}', said ->> 'code',
                    CASE jsonb_typeof(said) WHEN 'string' THEN said #>> '{}' WHEN 'array' THEN fhir.code(said -> 0) END)
$body$;
COMMENT ON FUNCTION fhir.code(jsonb) IS 'the code of a CodeableConcept, Coding or code, or of the first of several';

CREATE FUNCTION fhir.words(said jsonb) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT coalesce(said ->> 'text', said #>> '{coding,0,display}', said ->> 'display', said #>> '{coding,0,code}',
                    said ->> 'code',
                    CASE jsonb_typeof(said) WHEN 'string' THEN said #>> '{}' WHEN 'array' THEN fhir.words(said -> 0) END)
$body$;
COMMENT ON FUNCTION fhir.words(jsonb) IS 'what a CodeableConcept, Coding or code says to people, or the first of several';

CREATE FUNCTION fhir.texts(said jsonb, path jsonpath) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT array_agg(fhir.words(one) ORDER BY place)
    FROM jsonb_path_query(said, path) WITH ORDINALITY AS listed(one, place)
    WHERE fhir.words(one) IS NOT NULL
$body$;
COMMENT ON FUNCTION fhir.texts(jsonb, jsonpath) IS 'what texts, codes or concepts at a path say to people';

CREATE FUNCTION fhir.said(reference jsonb) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT coalesce(reference ->> 'reference',
                    CASE WHEN reference #>> '{identifier,value}' IS NOT NULL
                         THEN concat(reference ->> 'type', '?identifier=', (reference #>> '{identifier,system}') || '|',
                                     reference #>> '{identifier,value}') END,
                    reference ->> 'display')
$body$;
COMMENT ON FUNCTION fhir.said(jsonb) IS 'what a Reference says: its text, its identifier, or the words that stand for it';

CREATE FUNCTION fhir.medication(request jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
    SELECT coalesce(request -> 'medicationCodeableConcept',
                    jsonb_path_query_first(request, '$.contained[*] ? (@.id == $id).code', jsonb_build_object(
                        'id', substring(request #>> '{medicationReference,reference}' FROM '^#(.+)$'))))
$body$;
COMMENT ON FUNCTION fhir.medication(jsonb) IS 'the drug that a MedicationRequest names itself, or in a contained Medication';

-- migrate 3 --
CREATE FUNCTION fhir.unescaped(said text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
DECLARE
    one text;
BEGIN
    IF position('%' IN said) > 0 THEN  -- a percent sign last: it may stand before what then looks like another one
        FOR one IN SELECT m[1] FROM regexp_matches(said, '%([2-7][0-9A-Fa-f])', 'g') AS m
                   GROUP BY m[1] ORDER BY m[1] = '25' LOOP
            said := replace(said, '%' || one, chr(CAST(CAST('x' || one AS bit(8)) AS int)));
        END LOOP;
    END IF;
    RETURN said;
END
$body$;
COMMENT ON FUNCTION fhir.unescaped(text) IS 'a piece of a URL, its escaped ASCII characters as they are meant';

CREATE FUNCTION fhir.identified(organization text, kind text, issuer text, called text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $body$
DECLARE
    found text;
BEGIN
    -- Each with nothing but equal columns, so that the key's index is used whatever the planner knows of the table.
    IF issuer IS NULL THEN
        SELECT CASE WHEN min(i.id) = max(i.id) THEN kind || '/' || min(i.id) END INTO found
        FROM fhir.identifier AS i
        WHERE i.organization_id = organization AND i.resource_type = kind AND i.value = called;
    ELSE
        SELECT CASE WHEN min(i.id) = max(i.id) THEN kind || '/' || min(i.id) END INTO found
        FROM fhir.identifier AS i
        WHERE i.organization_id = organization AND i.resource_type = kind AND i.value = called AND i.system = issuer;
    END IF;
    RETURN found;
END
$body$;
COMMENT ON FUNCTION fhir.identified(text, text, text, text) IS
    'Type/id of the one resource of a type that has an identifier of a system (NULL: of any); NULL when none or several have';

CREATE FUNCTION fhir.target(organization text, reference jsonb, VARIADIC kinds text[]) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $body$
DECLARE
    said text := reference ->> 'reference';
    part text[] := regexp_match(said, '(?:^|/)([A-Z][A-Za-z]+)/([^/?#|]+)(?:/_history(?:/[^/?#]*)?)?$');
    asked text;
    kind text;
    bar int;
    found text;
BEGIN
    IF part IS NOT NULL THEN  -- Patient/1, https://host/fhir/Patient/1, Patient/1/_history/2
        RETURN part[1] || '/' || part[2];
    END IF;
    IF said IS NULL THEN
        FOREACH kind IN ARRAY CASE WHEN reference ? 'type' THEN ARRAY[reference ->> 'type'] ELSE kinds END LOOP
            found := fhir.identified(organization, kind, reference #>> '{identifier,system}',
                                     reference #>> '{identifier,value}');
            EXIT WHEN found IS NOT NULL;
        END LOOP;
        RETURN found;
    END IF;
    IF position('?' IN said) > 0 THEN  -- Practitioner?identifier=system|value
        kind := substring(split_part(said, '?', 1) FROM '[A-Za-z]*$');
        asked := substring(said FROM position('?' IN said) + 1);
        IF asked NOT LIKE 'identifier=%' THEN
            asked := substring(asked FROM '(?:^|&)((?:_id|identifier)=.*)$');
        END IF;
        IF asked LIKE '\_id=%' THEN
            RETURN kind || '/' || fhir.unescaped(split_part(substring(asked FROM 5), '&', 1));
        END IF;
        asked := fhir.unescaped(split_part(substring(asked FROM 12), '&', 1));
        bar := position('|' IN asked);
        RETURN fhir.identified(organization, kind, CASE WHEN bar > 0 THEN left(asked, bar - 1) END,
                               substring(asked FROM bar + 1));
    END IF;
    IF said LIKE 'urn:%' OR said LIKE 'http%' THEN
        SELECT r.resource_type || '/' || r.id INTO found
        FROM fhir.resource AS r
        WHERE r.organization_id = organization AND r.full_url = said
        ORDER BY r.deleted, r.resource_type, r.id
        LIMIT 1;
        IF found IS NULL AND said LIKE 'urn:%' THEN  -- loaded out of another file, that had no fullUrl
            FOREACH kind IN ARRAY kinds LOOP
                SELECT r.resource_type || '/' || r.id INTO found
                FROM fhir.resource AS r
                WHERE r.organization_id = organization AND r.resource_type = kind
                  AND r.id = substring(said FROM length(said) - position(':' IN reverse(said)) + 2);
                EXIT WHEN found IS NOT NULL;
            END LOOP;
        END IF;
    END IF;
    RETURN found;  -- NULL: a contained resource, or nothing that we know
END
$body$;
COMMENT ON FUNCTION fhir.target(text, jsonb, text[]) IS
    'Type/id that a Reference of an organisation''s resource points to: by type and id (also in a URL or a version), by the'
    ' fullUrl of an entry, or by an identifier; NULL when nobody can tell. The last arguments: which types it can be';

CREATE FUNCTION fhir.reference(organization text, said text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $body$
    SELECT fhir.target(organization, jsonb_build_object('reference', said), VARIADIC CAST('{}' AS text[]))
$body$;
COMMENT ON FUNCTION fhir.reference(text, text) IS 'Type/id that the text of a reference points to, or NULL';

CREATE FUNCTION fhir.target_ids(organization text, several jsonb, kind text) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE AS $body$
    SELECT array_agg(substring(found FROM position('/' IN found) + 1) ORDER BY place)
    FROM jsonb_path_query(several, '$[*]') WITH ORDINALITY AS listed(one, place),
         LATERAL (SELECT fhir.target(organization, one, kind) AS found) AS resolved
    WHERE starts_with(found, kind || '/')
$body$;
COMMENT ON FUNCTION fhir.target_ids(text, jsonb, text) IS 'the ids of all of a type that one or several References point to';

CREATE FUNCTION fhir.target_id(organization text, several jsonb, kind text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $body$
DECLARE
    one jsonb;
    found text;
BEGIN
    FOR one IN SELECT jsonb_path_query(several, '$[*]') LOOP
        found := fhir.target(organization, one, kind);
        IF starts_with(found, kind || '/') THEN
            RETURN substring(found FROM position('/' IN found) + 1);
        END IF;
    END LOOP;
    RETURN NULL;
END
$body$;
COMMENT ON FUNCTION fhir.target_id(text, jsonb, text) IS
    'the id of the first of one or several References that points to something of a type';

CREATE VIEW fhir.link AS
SELECT r.organization_id, r.resource_type, r.id, fhir.said(one) AS reference, one ->> 'display' AS display,
       fhir.target(r.organization_id, one, VARIADIC CAST('{}' AS text[])) AS target
FROM fhir.resource AS r, LATERAL jsonb_path_query(r.resource, 'strict $.** ? (@.reference.type() == "string")') AS one
WHERE NOT r.deleted;
COMMENT ON VIEW fhir.link IS 'One row a reference, wherever it stands in a living resource, and what it points to';
SELECT medmirror.show_safely('fhir.link');

-- migrate 4 --
CREATE VIEW fhir.patient AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       (r.resource ->> 'active') = 'true' AS active,
       fhir.preferred(r.resource -> 'name') ->> 'text' AS name_text,
       fhir.preferred(r.resource -> 'name') ->> 'family' AS family,
       fhir.texts(fhir.preferred(r.resource -> 'name'), '$.given[*]') AS given,
       fhir.texts(fhir.preferred(r.resource -> 'name'), '$.prefix[*]') AS prefix,
       r.resource ->> 'gender' AS gender,
       r.resource ->> 'birthDate' AS birth_date,
       fhir.day(r.resource ->> 'birthDate') AS birth_day,
       coalesce((r.resource ->> 'deceasedBoolean') = 'true', r.resource ? 'deceasedDateTime') AS deceased,
       r.resource ->> 'deceasedDateTime' AS deceased_at,
       fhir.moment(r.resource ->> 'deceasedDateTime') AS deceased_from,
       fhir.contact(r.resource -> 'telecom', 'phone') AS phone,
       fhir.contact(r.resource -> 'telecom', 'email') AS email,
       array_to_string(fhir.texts(fhir.preferred(r.resource -> 'address'), '$.line[*]'), ', ') AS street,
       fhir.preferred(r.resource -> 'address') ->> 'city' AS city,
       fhir.preferred(r.resource -> 'address') ->> 'state' AS state,
       fhir.preferred(r.resource -> 'address') ->> 'postalCode' AS post_code,
       fhir.preferred(r.resource -> 'address') ->> 'country' AS country,
       fhir.words(r.resource -> 'maritalStatus') AS marital_status,
       fhir.target_id(r.organization_id, r.resource -> 'generalPractitioner', 'Practitioner') AS practitioner_id,
       fhir.said(jsonb_path_query_first(r.resource, '$.generalPractitioner[*]')) AS practitioner_reference,
       fhir.target_id(r.organization_id, r.resource -> 'managingOrganization', 'Organization')
           AS managing_organization_id,
       fhir.said(r.resource -> 'managingOrganization') AS managing_organization_reference,
       r.resource -> 'identifier' AS identifiers,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Patient' AND NOT r.deleted;
COMMENT ON VIEW fhir.patient IS 'Living patients; name and address as fhir.preferred chooses';
SELECT medmirror.show_safely('fhir.patient');

CREATE VIEW fhir.practitioner AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       (r.resource ->> 'active') = 'true' AS active,
       fhir.preferred(r.resource -> 'name') ->> 'text' AS name_text,
       fhir.preferred(r.resource -> 'name') ->> 'family' AS family,
       fhir.texts(fhir.preferred(r.resource -> 'name'), '$.given[*]') AS given,
       fhir.texts(fhir.preferred(r.resource -> 'name'), '$.prefix[*]') AS prefix,
       r.resource ->> 'gender' AS gender,
       r.resource ->> 'birthDate' AS birth_date,
       fhir.day(r.resource ->> 'birthDate') AS birth_day,
       fhir.contact(r.resource -> 'telecom', 'phone') AS phone,
       fhir.contact(r.resource -> 'telecom', 'email') AS email,
       array_to_string(fhir.texts(fhir.preferred(r.resource -> 'address'), '$.line[*]'), ', ') AS street,
       fhir.preferred(r.resource -> 'address') ->> 'city' AS city,
       fhir.preferred(r.resource -> 'address') ->> 'state' AS state,
       fhir.preferred(r.resource -> 'address') ->> 'postalCode' AS post_code,
       fhir.preferred(r.resource -> 'address') ->> 'country' AS country,
       fhir.texts(r.resource, '$.qualification[*].code') AS qualifications,
       jsonb_path_query_first(r.resource,
           '$.identifier[*] ? (@.system == "http://hl7.org/fhir/sid/us-npi").value') #>> '{}' AS npi,
       r.resource -> 'identifier' AS identifiers,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Practitioner' AND NOT r.deleted;
COMMENT ON VIEW fhir.practitioner IS 'Living practitioners';
SELECT medmirror.show_safely('fhir.practitioner');

CREATE VIEW fhir.practitioner_role AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       (r.resource ->> 'active') = 'true' AS active,
       fhir.target_id(r.organization_id, r.resource -> 'practitioner', 'Practitioner') AS practitioner_id,
       fhir.said(r.resource -> 'practitioner') AS practitioner_reference,
       fhir.target_id(r.organization_id, r.resource -> 'organization', 'Organization') AS service_organization_id,
       fhir.said(r.resource -> 'organization') AS service_organization_reference,
       fhir.target_ids(r.organization_id, r.resource -> 'location', 'Location') AS location_ids,
       fhir.texts(r.resource, '$.code[*]') AS codes,
       fhir.texts(r.resource, '$.specialty[*]') AS specialties,
       fhir.contact(r.resource -> 'telecom', 'phone') AS phone,
       fhir.contact(r.resource -> 'telecom', 'email') AS email,
       r.resource #>> '{period,start}' AS starts,
       fhir.moment(r.resource #>> '{period,start}') AS starts_from,
       r.resource #>> '{period,end}' AS ends,
       fhir.moment(r.resource #>> '{period,end}') AS ends_from,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'PractitionerRole' AND NOT r.deleted;
COMMENT ON VIEW fhir.practitioner_role IS
    'What a practitioner does, for whom and where; service_organization: for which Organization';
SELECT medmirror.show_safely('fhir.practitioner_role');

CREATE VIEW fhir.organization AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       (r.resource ->> 'active') = 'true' AS active,
       r.resource ->> 'name' AS name,
       fhir.words(r.resource -> 'type') AS type,
       fhir.contact(r.resource -> 'telecom', 'phone') AS phone,
       fhir.contact(r.resource -> 'telecom', 'email') AS email,
       array_to_string(fhir.texts(fhir.preferred(r.resource -> 'address'), '$.line[*]'), ', ') AS street,
       fhir.preferred(r.resource -> 'address') ->> 'city' AS city,
       fhir.preferred(r.resource -> 'address') ->> 'state' AS state,
       fhir.preferred(r.resource -> 'address') ->> 'postalCode' AS post_code,
       fhir.preferred(r.resource -> 'address') ->> 'country' AS country,
       fhir.target_id(r.organization_id, r.resource -> 'partOf', 'Organization') AS part_of_id,
       fhir.said(r.resource -> 'partOf') AS part_of_reference,
       r.resource -> 'identifier' AS identifiers,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Organization' AND NOT r.deleted;
COMMENT ON VIEW fhir.organization IS 'Organisations that a server knows, the practice itself among them';
SELECT medmirror.show_safely('fhir.organization');

CREATE VIEW fhir.location AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       r.resource ->> 'status' AS status,
       r.resource ->> 'name' AS name,
       r.resource ->> 'description' AS description,
       r.resource ->> 'mode' AS mode,
       fhir.words(r.resource -> 'type') AS type,
       fhir.contact(r.resource -> 'telecom', 'phone') AS phone,
       fhir.contact(r.resource -> 'telecom', 'email') AS email,
       array_to_string(fhir.texts(fhir.preferred(r.resource -> 'address'), '$.line[*]'), ', ') AS street,
       fhir.preferred(r.resource -> 'address') ->> 'city' AS city,
       fhir.preferred(r.resource -> 'address') ->> 'state' AS state,
       fhir.preferred(r.resource -> 'address') ->> 'postalCode' AS post_code,
       fhir.preferred(r.resource -> 'address') ->> 'country' AS country,
       CAST(jsonb_path_query_first(r.resource, '$.position.latitude ? (@.type() == "number")') AS float8) AS latitude,
       CAST(jsonb_path_query_first(r.resource, '$.position.longitude ? (@.type() == "number")') AS float8) AS longitude,
       fhir.target_id(r.organization_id, r.resource -> 'managingOrganization', 'Organization')
           AS managing_organization_id,
       fhir.said(r.resource -> 'managingOrganization') AS managing_organization_reference,
       fhir.target_id(r.organization_id, r.resource -> 'partOf', 'Location') AS part_of_id,
       fhir.said(r.resource -> 'partOf') AS part_of_reference,
       r.resource -> 'identifier' AS identifiers,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Location' AND NOT r.deleted;
COMMENT ON VIEW fhir.location IS 'Places';
SELECT medmirror.show_safely('fhir.location');

CREATE VIEW fhir.appointment AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       r.resource ->> 'status' AS status,
       fhir.words(r.resource -> 'serviceCategory') AS service_category,
       fhir.words(r.resource -> 'serviceType') AS service_type,
       fhir.words(r.resource -> 'specialty') AS specialty,
       fhir.words(r.resource -> 'appointmentType') AS appointment_type,
       coalesce(fhir.words(r.resource -> 'reasonCode'), fhir.words(r.resource -> 'reason')) AS reason,
       fhir.words(r.resource -> 'cancelationReason') AS cancellation_reason,
       r.resource ->> 'description' AS description,
       r.resource ->> 'comment' AS comment,
       fhir.moment(r.resource ->> 'start') AS starts_at,
       fhir.moment(r.resource ->> 'end') AS ends_at,
       CAST(jsonb_path_query_first(r.resource, '$.minutesDuration ? (@.type() == "number")') AS numeric) AS minutes,
       r.resource ->> 'created' AS created,
       fhir.moment(r.resource ->> 'created') AS created_from,
       fhir.target_id(r.organization_id, jsonb_path_query_array(r.resource, '$.participant[*].actor'), 'Patient')
           AS patient_id,
       fhir.target_id(r.organization_id, jsonb_path_query_array(r.resource, '$.participant[*].actor'),
           'Practitioner') AS practitioner_id,
       fhir.target_id(r.organization_id, jsonb_path_query_array(r.resource, '$.participant[*].actor'), 'Location')
           AS location_id,
       (SELECT array_agg(fhir.said(actor)) FROM jsonb_array_elements(jsonb_path_query_array(r.resource,
           '$.participant[*].actor')) AS actor) AS participant_references,
       fhir.target_ids(r.organization_id, r.resource -> 'slot', 'Slot') AS slot_ids,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Appointment' AND NOT r.deleted;
COMMENT ON VIEW fhir.appointment IS
    'Appointments; patient, practitioner and location are the first participant of each kind';
SELECT medmirror.show_safely('fhir.appointment');

CREATE VIEW fhir.schedule AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       (r.resource ->> 'active') = 'true' AS active,
       fhir.words(r.resource -> 'serviceType') AS service_type,
       fhir.words(r.resource -> 'specialty') AS specialty,
       fhir.target_id(r.organization_id, r.resource -> 'actor', 'Practitioner') AS practitioner_id,
       fhir.target_id(r.organization_id, r.resource -> 'actor', 'Location') AS location_id,
       (SELECT array_agg(fhir.said(actor)) FROM jsonb_path_query(r.resource, '$.actor[*]') AS actor)
           AS actor_references,
       r.resource #>> '{planningHorizon,start}' AS starts,
       fhir.moment(r.resource #>> '{planningHorizon,start}') AS starts_from,
       r.resource #>> '{planningHorizon,end}' AS ends,
       fhir.moment(r.resource #>> '{planningHorizon,end}') AS ends_from,
       r.resource ->> 'comment' AS comment,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Schedule' AND NOT r.deleted;
COMMENT ON VIEW fhir.schedule IS 'Whose time, or which place, can be booked';
SELECT medmirror.show_safely('fhir.schedule');

CREATE VIEW fhir.slot AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       r.resource ->> 'status' AS status,
       fhir.target_id(r.organization_id, r.resource -> 'schedule', 'Schedule') AS schedule_id,
       fhir.said(r.resource -> 'schedule') AS schedule_reference,
       fhir.words(r.resource -> 'serviceType') AS service_type,
       fhir.words(r.resource -> 'specialty') AS specialty,
       fhir.words(r.resource -> 'appointmentType') AS appointment_type,
       fhir.moment(r.resource ->> 'start') AS starts_at,
       fhir.moment(r.resource ->> 'end') AS ends_at,
       (r.resource ->> 'overbooked') = 'true' AS overbooked,
       r.resource ->> 'comment' AS comment,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Slot' AND NOT r.deleted;
COMMENT ON VIEW fhir.slot IS 'Times of a schedule, free or taken';
SELECT medmirror.show_safely('fhir.slot');

CREATE VIEW fhir.encounter AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       r.resource ->> 'status' AS status,
       fhir.code(r.resource -> 'class') AS class,
       fhir.words(r.resource -> 'type') AS type,
       coalesce(fhir.words(r.resource -> 'reasonCode'), fhir.words(r.resource -> 'reason')) AS reason,
       fhir.target_id(r.organization_id, r.resource -> 'subject', 'Patient') AS patient_id,
       fhir.said(r.resource -> 'subject') AS patient_reference,
       fhir.target_id(r.organization_id, jsonb_path_query_array(r.resource, '$.participant[*].individual'),
           'Practitioner') AS practitioner_id,
       fhir.said(jsonb_path_query_first(r.resource, '$.participant[*].individual')) AS practitioner_reference,
       fhir.target_id(r.organization_id, jsonb_path_query_array(r.resource, '$.location[*].location'), 'Location')
           AS location_id,
       fhir.said(jsonb_path_query_first(r.resource, '$.location[*].location')) AS location_reference,
       fhir.target_id(r.organization_id, r.resource -> 'serviceProvider', 'Organization') AS service_provider_id,
       fhir.said(r.resource -> 'serviceProvider') AS service_provider_reference,
       fhir.target_id(r.organization_id, r.resource -> 'appointment', 'Appointment') AS appointment_id,
       fhir.said(jsonb_path_query_first(r.resource, '$.appointment[*]')) AS appointment_reference,
       r.resource #>> '{period,start}' AS starts,
       fhir.moment(r.resource #>> '{period,start}') AS starts_from,
       r.resource #>> '{period,end}' AS ends,
       fhir.moment(r.resource #>> '{period,end}') AS ends_from,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Encounter' AND NOT r.deleted;
COMMENT ON VIEW fhir.encounter IS 'Visits; the practitioner is the first who took part';
SELECT medmirror.show_safely('fhir.encounter');

CREATE VIEW fhir.condition AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       fhir.code(r.resource -> 'clinicalStatus') AS clinical_status,
       fhir.code(r.resource -> 'verificationStatus') AS verification_status,
       fhir.code(r.resource -> 'category') AS category,
       fhir.code(r.resource -> 'severity') AS severity,
       r.resource #>> '{code,coding,0,system}' AS code_system,
       fhir.code(r.resource -> 'code') AS code,
       fhir.words(r.resource -> 'code') AS display,
       fhir.target_id(r.organization_id, r.resource -> 'subject', 'Patient') AS patient_id,
       fhir.said(r.resource -> 'subject') AS patient_reference,
       fhir.target_id(r.organization_id, coalesce(r.resource -> 'encounter', r.resource -> 'context'), 'Encounter')
           AS encounter_id,
       fhir.said(coalesce(r.resource -> 'encounter', r.resource -> 'context')) AS encounter_reference,
       coalesce(r.resource ->> 'onsetDateTime', r.resource #>> '{onsetPeriod,start}') AS onset,
       fhir.moment(coalesce(r.resource ->> 'onsetDateTime', r.resource #>> '{onsetPeriod,start}')) AS onset_from,
       coalesce(r.resource ->> 'abatementDateTime', r.resource #>> '{abatementPeriod,start}') AS abatement,
       fhir.moment(coalesce(r.resource ->> 'abatementDateTime', r.resource #>> '{abatementPeriod,start}'))
           AS abatement_from,
       coalesce(r.resource ->> 'recordedDate', r.resource ->> 'assertedDate') AS recorded,
       fhir.moment(coalesce(r.resource ->> 'recordedDate', r.resource ->> 'assertedDate')) AS recorded_from,
       fhir.target_id(r.organization_id, r.resource -> 'asserter', 'Practitioner') AS asserter_id,
       fhir.said(r.resource -> 'asserter') AS asserter_reference,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Condition' AND NOT r.deleted;
COMMENT ON VIEW fhir.condition IS 'Problems and diagnoses';
SELECT medmirror.show_safely('fhir.condition');

CREATE VIEW fhir.medication_request AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       r.resource ->> 'status' AS status,
       r.resource ->> 'intent' AS intent,
       fhir.code(r.resource -> 'category') AS category,
       fhir.medication(r.resource) #>> '{coding,0,system}' AS medication_system,
       fhir.code(fhir.medication(r.resource)) AS medication_code,
       fhir.words(fhir.medication(r.resource)) AS medication,
       fhir.target_id(r.organization_id, r.resource -> 'medicationReference', 'Medication') AS medication_id,
       fhir.said(r.resource -> 'medicationReference') AS medication_reference,
       fhir.target_id(r.organization_id, r.resource -> 'subject', 'Patient') AS patient_id,
       fhir.said(r.resource -> 'subject') AS patient_reference,
       fhir.target_id(r.organization_id, coalesce(r.resource -> 'encounter', r.resource -> 'context'), 'Encounter')
           AS encounter_id,
       fhir.said(coalesce(r.resource -> 'encounter', r.resource -> 'context')) AS encounter_reference,
       r.resource ->> 'authoredOn' AS authored,
       fhir.moment(r.resource ->> 'authoredOn') AS authored_from,
       fhir.target_id(r.organization_id, coalesce(r.resource #> '{requester,agent}', r.resource -> 'requester'),
           'Practitioner') AS requester_id,
       fhir.said(coalesce(r.resource #> '{requester,agent}', r.resource -> 'requester')) AS requester_reference,
       fhir.words(r.resource -> 'reasonCode') AS reason,
       fhir.texts(r.resource, '$.dosageInstruction[*].text') AS dosages,
       CAST(jsonb_path_query_first(r.resource, '$.dispenseRequest.numberOfRepeatsAllowed ? (@.type() == "number")')
           AS numeric) AS repeats,
       CAST(jsonb_path_query_first(r.resource, '$.dispenseRequest.quantity.value ? (@.type() == "number")')
           AS numeric) AS quantity,
       r.resource #>> '{dispenseRequest,quantity,unit}' AS quantity_unit,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'MedicationRequest' AND NOT r.deleted;
COMMENT ON VIEW fhir.medication_request IS 'Prescriptions';
SELECT medmirror.show_safely('fhir.medication_request');

CREATE VIEW fhir.coverage AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       r.resource ->> 'status' AS status,
       fhir.code(r.resource -> 'type') AS type_code,
       fhir.words(r.resource -> 'type') AS type,
       r.resource ->> 'subscriberId' AS subscriber_id,
       fhir.words(r.resource -> 'relationship') AS relationship,
       fhir.target_id(r.organization_id, r.resource -> 'beneficiary', 'Patient') AS beneficiary_id,
       fhir.said(r.resource -> 'beneficiary') AS beneficiary_reference,
       fhir.target_id(r.organization_id, r.resource -> 'subscriber', 'Patient') AS subscriber_patient_id,
       fhir.said(r.resource -> 'subscriber') AS subscriber_reference,
       fhir.target_id(r.organization_id, r.resource -> 'payor', 'Organization') AS payor_id,
       fhir.said(jsonb_path_query_first(r.resource, '$.payor[*]')) AS payor_reference,
       r.resource #>> '{payor,0,display}' AS payor,
       coalesce(jsonb_path_query_first(r.resource,
           '$.class[*] ? (exists(@.type.coding[*] ? (@.code == "group"))).value') #>> '{}',
           r.resource #>> '{grouping,group}') AS group_number,
       coalesce(jsonb_path_query_first(r.resource,
           '$.class[*] ? (exists(@.type.coding[*] ? (@.code == "plan"))).value') #>> '{}',
           r.resource #>> '{grouping,plan}') AS plan,
       r.resource #>> '{period,start}' AS starts,
       fhir.moment(r.resource #>> '{period,start}') AS starts_from,
       r.resource #>> '{period,end}' AS ends,
       fhir.moment(r.resource #>> '{period,end}') AS ends_from,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'Coverage' AND NOT r.deleted;
COMMENT ON VIEW fhir.coverage IS 'Insurances and other payers; R4 names group and plan in class, STU3 in grouping';
SELECT medmirror.show_safely('fhir.coverage');

CREATE VIEW fhir.document_reference AS
SELECT r.organization_id, r.id, r.version, r.last_updated,
       r.resource ->> 'status' AS status,
       fhir.code(r.resource -> 'docStatus') AS doc_status,
       fhir.code(r.resource -> 'type') AS type_code,
       fhir.words(r.resource -> 'type') AS type,
       coalesce(fhir.words(r.resource -> 'category'), fhir.words(r.resource -> 'class')) AS category,
       r.resource ->> 'description' AS description,
       fhir.target_id(r.organization_id, r.resource -> 'subject', 'Patient') AS patient_id,
       fhir.said(r.resource -> 'subject') AS patient_reference,
       coalesce(r.resource ->> 'date', r.resource ->> 'created', r.resource ->> 'indexed') AS dated,
       fhir.moment(coalesce(r.resource ->> 'date', r.resource ->> 'created', r.resource ->> 'indexed')) AS dated_from,
       fhir.target_id(r.organization_id, r.resource -> 'author', 'Practitioner') AS author_id,
       fhir.said(jsonb_path_query_first(r.resource, '$.author[*]')) AS author_reference,
       fhir.target_id(r.organization_id, r.resource -> 'custodian', 'Organization') AS custodian_id,
       fhir.said(r.resource -> 'custodian') AS custodian_reference,
       fhir.target_id(r.organization_id, jsonb_path_query_array(r.resource, '$.context.encounter[*]'), 'Encounter')
           AS encounter_id,
       fhir.said(jsonb_path_query_first(r.resource, '$.context.encounter[*]')) AS encounter_reference,
       r.resource #>> '{content,0,attachment,contentType}' AS content_type,
       r.resource #>> '{content,0,attachment,title}' AS title,
       r.resource #>> '{content,0,attachment,url}' AS url,
       CAST(jsonb_path_query_first(r.resource, '$.content[0].attachment.size ? (@.type() == "number")') AS numeric)
           AS size,
       r.resource #> '{content,0,attachment}' ? 'data' AS has_data,
       r.resource
FROM fhir.resource AS r
WHERE r.resource_type = 'DocumentReference' AND NOT r.deleted;
COMMENT ON VIEW fhir.document_reference IS 'Documents; what they hold is in resource, or at url';
SELECT medmirror.show_safely('fhir.document_reference');

-- migrate 5 --
-- What orders copies of one version: see ingest/order.py.
ALTER TABLE fhir.resource_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN fhir.resource_fact.tie IS 'orders copies of one version: the number of the resource''s version; for a deletion the highest number';
COMMENT ON COLUMN fhir.resource_fact.place IS 'orders copies of one version that nothing else orders: load, file, and place in the file';

-- migrate 6 --
COMMENT ON COLUMN fhir.resource.full_url IS
    'where it stands, by which others may refer to it: fullUrl of the entry that it came in, or its address on the server of its export';

CREATE FUNCTION fhir.place(url text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    part text[] := regexp_match(url, '^https?://(?:[^/?#@]*@)?([^/?#:@]+|\[[^]]*\])(?::([0-9]*))?([^?#]*)', 'i');
    path text := regexp_replace(regexp_replace(part[3], '/{2,}', '/', 'g'), '/_history(/[^/]*)?/?$', '');
BEGIN
    RETURN rtrim(lower(part[1]), '.') || CASE WHEN coalesce(part[2], '') IN ('', '80', '443') THEN '' ELSE ':' || part[2] END
           || rtrim(path, '/');
END
$body$;
COMMENT ON FUNCTION fhir.place(text) IS
    'where a URL of a server points to, whatever its scheme, usual port, slashes and version; NULL for what is none';

CREATE OR REPLACE FUNCTION fhir.target(organization text, reference jsonb, VARIADIC kinds text[]) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    said text := reference ->> 'reference';
    part text[] := regexp_match(said, '(?:^|/)([A-Z][A-Za-z]+)/([^/?#|]+)(?:/_history(?:/[^/?#]*)?)?$');
    asked text;
    kind text;
    bar int;
    found text;
BEGIN
    IF part IS NOT NULL AND said !~* '^([a-z][a-z0-9+.-]*:|//)' THEN  -- Patient/1, Patient/1/_history/2
        RETURN part[1] || '/' || part[2];
    END IF;
    IF part IS NOT NULL AND said ~* '^https?:' THEN  -- https://host/fhir/Patient/1: another server's, unless ours stands there
        SELECT r.resource_type || '/' || r.id INTO found
        FROM fhir.resource AS r
        WHERE r.organization_id = organization AND r.resource_type = part[1] AND r.id = part[2]
          AND fhir.place(r.full_url) = fhir.place(said);
        IF found IS NOT NULL THEN
            RETURN found;
        END IF;
    END IF;
    IF said IS NULL THEN
        FOREACH kind IN ARRAY CASE WHEN reference ? 'type' THEN ARRAY[reference ->> 'type'] ELSE kinds END LOOP
            found := fhir.identified(organization, kind, reference #>> '{identifier,system}',
                                     reference #>> '{identifier,value}');
            EXIT WHEN found IS NOT NULL;
        END LOOP;
        RETURN found;
    END IF;
    IF position('?' IN said) > 0 THEN  -- Practitioner?identifier=system|value
        kind := substring(split_part(said, '?', 1) FROM '[A-Za-z]*$');
        asked := substring(said FROM position('?' IN said) + 1);
        IF asked NOT LIKE 'identifier=%' THEN
            asked := substring(asked FROM '(?:^|&)((?:_id|identifier)=.*)$');
        END IF;
        IF asked LIKE '\_id=%' AND said ~* '^([a-z][a-z0-9+.-]*:|//)' THEN  -- an id of another server, or nobody knows
            RETURN NULL;
        END IF;
        IF asked LIKE '\_id=%' THEN
            RETURN kind || '/' || fhir.unescaped(split_part(substring(asked FROM 5), '&', 1));
        END IF;
        asked := fhir.unescaped(split_part(substring(asked FROM 12), '&', 1));
        bar := position('|' IN asked);
        RETURN fhir.identified(organization, kind, CASE WHEN bar > 0 THEN left(asked, bar - 1) END,
                               substring(asked FROM bar + 1));
    END IF;
    IF said LIKE 'urn:%' OR said LIKE 'http%' THEN
        SELECT r.resource_type || '/' || r.id INTO found
        FROM fhir.resource AS r
        WHERE r.organization_id = organization AND r.full_url = said
        ORDER BY r.deleted, r.resource_type, r.id
        LIMIT 1;
        IF found IS NULL AND said LIKE 'urn:%' THEN  -- loaded out of another file, that had no fullUrl
            FOREACH kind IN ARRAY kinds LOOP
                SELECT r.resource_type || '/' || r.id INTO found
                FROM fhir.resource AS r
                WHERE r.organization_id = organization AND r.resource_type = kind
                  AND r.id = substring(said FROM length(said) - position(':' IN reverse(said)) + 2);
                EXIT WHEN found IS NOT NULL;
            END LOOP;
        END IF;
    END IF;
    RETURN found;  -- NULL: a contained resource, or nothing that we know
END
$body$;
COMMENT ON FUNCTION fhir.target(text, jsonb, text[]) IS
    'Type/id that a Reference of an organisation''s resource points to: by type and id (also of a version), by the'
    ' fullUrl of an entry or the place that it tells, or by an identifier; NULL when nobody can tell. The last arguments: which types it can be';

-- migrate 7 --
-- An index never decides what can be stored: a hash index holds an address of any length (and answers = alone).
DROP INDEX fhir.resource_full_url;
CREATE INDEX resource_full_url ON fhir.resource USING hash (full_url) WHERE full_url IS NOT NULL;
