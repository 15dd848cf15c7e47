-- The statements of matching/scoring.py. They run in a DuckDB within the process, not in Postgres: `canonical` holds the
-- records of one entity of one organisation, with parts of the canonical record as JSON text.

-- limits --
-- What does not fit goes to files in a folder of the run's own.
SET memory_limit = '{memory}'; SET temp_directory = '{folder}'; SET preserve_insertion_order = false;
SET enable_progress_bar = false;

-- incoming --
-- The facts that records are compared by; lists as lists, little cleaned yet. Addresses and telephones of former times or
-- of other people are left out, and identifiers that the insured of one policy share.
CREATE OR REPLACE TABLE incoming AS
WITH parts AS (
    SELECT * EXCLUDE (names, phones, emails, addresses, identifiers),
           from_json(names, '[{{"use":{{"code":"VARCHAR"}},"family":"VARCHAR","given":["VARCHAR"],"text":"VARCHAR"}}]') AS names,
           from_json(phones, '[{{"use":{{"code":"VARCHAR"}},"raw":"VARCHAR","e164":"VARCHAR"}}]') AS phones,
           from_json(emails, '[{{"use":{{"code":"VARCHAR"}},"address":"VARCHAR"}}]') AS emails,
           list_filter(from_json(addresses, '[{{"use":{{"code":"VARCHAR"}},"lines":["VARCHAR"],"text":"VARCHAR","city":"VARCHAR","post_code":"VARCHAR"}}]'),
                       lambda a: coalesce(a.use.code, '') NOT IN ('OLD', 'TEMP', 'BILLING'))[1] AS address,
           list_transform(
               from_json(identifiers, '[{{"use":{{"code":"VARCHAR"}},"system":"VARCHAR","type":"VARCHAR","value":"VARCHAR"}}]'),
               lambda i: {{'use': coalesce(i.use.code, ''), 'type': upper(coalesce(i.type, '')), 'system': coalesce(i.system, i.type),
                           'value': upper(regexp_replace(i.value, '[\s-]', '', 'g'))
                                    || CASE WHEN i.type = 'MEDICARE' THEN coalesce(card_place, '') ELSE '' END}}) AS identifiers
    FROM canonical
),
known AS (
    -- `one`: a number that a person has only one of, so that two differ if these do. (A practice has as many numbers for a
    -- person as it has records of the person.) The number of an Australian Medicare card is a family's; with the place on
    -- the card it is a person's.
    SELECT *, list_transform(
                  list_filter(identifiers, lambda i: i.system IS NOT NULL AND i.value <> '' AND i.use NOT IN ('OLD', 'TEMP')
                      AND i.type NOT IN ('MB', 'SN', 'SB', 'AN', 'VN', 'FILL', 'PLAC')
                      AND (length(i.value) >= 11 OR NOT regexp_matches(i.type || ' ' || upper(i.system), '\bMC\b|MEDICARE'))),
                  lambda i: {{'number': replace(i.system, '|', '/') || '|' || i.value,
                              'one': i.type IN ('SS', 'NI', 'NH', 'NPI', 'NIIP', 'IHI', 'HC', 'JHN', 'MC', 'MEDICARE', 'DVA', 'PPN', 'TAX')
                                     OR regexp_matches(lower(i.system), 'ssn|nhs-?number|npi|ihi|national|medicare|dva')}}) AS known
    FROM parts
),
named AS (
    -- A name in one piece: "Family, Given", or the last word is the family's.
    SELECT *, names[1].text AS whole,
           coalesce(names[1].family, CASE WHEN contains(whole, ',') THEN split_part(whole, ',', 1)
                                          ELSE regexp_extract(trim(whole), '\s(\S+)$', 1) END) AS family,
           coalesce(names[1].given, string_split(
               CASE WHEN names[1].family IS NOT NULL THEN NULL
                    WHEN contains(whole, ',') THEN trim(split_part(whole, ',', 2))
                    ELSE regexp_extract(trim(whole), '^(.*)\s\S+$', 1) END, ' ')) AS given_parts
    FROM known
)
SELECT row_number() OVER (ORDER BY source, feed, source_id) AS rid, source, feed, source_id, changed, gone,
       concat_ws(chr(31), source, feed, source_id) AS key, source || chr(31) || merged_into AS merged_into,
       family, given_parts[1] AS given, array_to_string(given_parts[2:], ' ') AS middle,
       list_filter(list_transform(names, lambda n: n.family), lambda f: f IS NOT NULL) AS families,
       flatten(list_transform(names, lambda n: coalesce(n.given, []))) AS givens,
       birth_date, lower(sex) AS sex,
       list_transform(list_filter(phones, lambda p: coalesce(p.use.code, '') NOT IN ('OLD', 'TEMP', 'FAX', 'EMERGENCY')),
                      lambda p: coalesce(p.e164, regexp_replace(p.raw, '\D', '', 'g'))) AS phones,
       list_transform(list_filter(emails, lambda e: coalesce(e.use.code, '') NOT IN ('OLD', 'TEMP')),
                      lambda e: lower(trim(e.address))) AS emails,
       coalesce(array_to_string(address.lines, ' '), address.text) AS street, address.city AS city, address.post_code AS post_code,
       list_transform(known, lambda i: i.number) AS identifiers,
       list_transform(list_filter(known, lambda i: i.one), lambda i: i.number) AS numbers
FROM named

-- macros --
CREATE OR REPLACE MACRO plain(x) AS nullif(regexp_replace(lower(strip_accents(x)), '[^\p{{L}}]', '', 'g'), '');
CREATE OR REPLACE MACRO words(x) AS nullif(trim(regexp_replace(lower(strip_accents(x)), '[^\p{{L}}\p{{N}}]+', ' ', 'g')), '');
CREATE OR REPLACE MACRO sorted(x) AS nullif(list_sort(list_distinct(list_filter(x, lambda y: y IS NOT NULL AND y <> ''))), []);
-- What is left of a name that is heard alike and spelled otherwise: its first letter and consonants.
CREATE OR REPLACE MACRO heard(x) AS left(x, 1) || left(regexp_replace(substr(x, 2), '[aeiouyhw]', '', 'g'), 4);

-- shared values --
-- Telephones, mail addresses and identifiers that so many records bear that they tell nothing of a person: the practice's
-- own, or what people type when a form wants something.
CREATE OR REPLACE TABLE shared_value AS
SELECT value FROM (
    SELECT rid, unnest(phones) AS value FROM incoming
    UNION ALL SELECT rid, unnest(emails) FROM incoming
    UNION ALL SELECT rid, unnest(identifiers) FROM incoming
) GROUP BY value HAVING count(DISTINCT rid) > {shared}

-- person --
CREATE OR REPLACE TABLE person AS
WITH common AS (SELECT coalesce(list(value), []) AS value FROM shared_value),
cleaned AS (
    SELECT i.* REPLACE (
               sorted(list_filter(phones, lambda y: NOT list_contains(c.value, y))) AS phones,
               sorted(list_filter(emails, lambda y: NOT list_contains(c.value, y))) AS emails,
               sorted(list_filter(identifiers, lambda y: NOT list_contains(c.value, y))) AS identifiers,
               sorted(list_filter(numbers, lambda y: NOT list_contains(c.value, y))) AS numbers)
    FROM incoming AS i, common AS c
)
SELECT rid, source, changed, key, merged_into,
       plain(family) AS family, plain(given) AS given, plain(middle) AS middle,
       sorted(list_transform(families, lambda y: plain(y))) AS families,
       sorted(list_transform(givens, lambda y: plain(y))) AS givens,
       nullif(birth_date, '') AS birth_date,
       CASE WHEN length(birth_date) = 10
            THEN left(birth_date, 5) || substr(birth_date, 9, 2) || '-' || substr(birth_date, 6, 2) END AS birth_turned,
       CASE WHEN sex IN ('male', 'female') THEN sex END AS sex,
       phones, phones[1] AS phone, emails, emails[1] AS email,
       words(street) AS street, string_split(words(street), ' ') AS street_words,
       words(city) AS city, words(post_code) AS post_code,
       identifiers, numbers[1] AS number, list_transform(numbers, lambda y: string_split(y, '|')[1]) AS systems
FROM cleaned

-- rarity --
-- How often a value of {column} is met, for splink. A pair that agrees has itself put its value in twice, and the share
-- of a name among few records is no estimate at all: hence the two less, and the {weight} records more of the usual kind.
CREATE OR REPLACE TABLE rarity_{column} AS
SELECT {column},
       (greatest(count(*) - 2, 0) + {weight} * {usual}) / (greatest(sum(count(*)) OVER () - 2, 0) + {weight}) AS tf_{column}
FROM person WHERE {column} IS NOT NULL GROUP BY {column}

-- blocks --
-- What a pair must have in common to be looked at, one row a record and key. Names may be exchanged, so their keys do
-- not tell the given name from the family name. Keys of i and x are what a record is known by: an identifier, a merge.
CREATE OR REPLACE TABLE block AS
WITH keys AS (
    SELECT rid, family, given, left(birth_date, 4) AS year,
           CASE WHEN length(birth_date) = 10
                THEN left(birth_date, 4) || least(substr(birth_date, 6, 2), substr(birth_date, 9, 2))
                     || greatest(substr(birth_date, 6, 2), substr(birth_date, 9, 2)) END AS day,
           CASE WHEN length(birth_date) = 10 THEN substr(birth_date, 6) END AS month_day,
           heard(family) AS family_key, heard(given) AS given_key,
           [family_key || '/' || left(given, 1), given_key || '/' || left(family, 1)] AS name_keys, post_code, street, city
    FROM person
)
SELECT DISTINCT rid, key FROM (
    SELECT rid, 'i' || unnest(identifiers) AS key FROM person
    UNION ALL SELECT rid, 'x' || merged_into FROM person
    UNION ALL SELECT rid, 'x' || key FROM person WHERE key IN (SELECT merged_into FROM person)
    UNION ALL SELECT rid, 'p' || unnest(phones) FROM person
    UNION ALL SELECT rid, 'e' || unnest(emails) FROM person
    UNION ALL SELECT rid, 'd' || day || unnest([left(family, 1), left(given, 1)]) FROM keys
    UNION ALL SELECT rid, 'n' || least(family_key, given_key) || '/' || greatest(family_key, given_key) FROM keys
    UNION ALL SELECT rid, 'y' || year || unnest(name_keys) FROM keys
    UNION ALL SELECT rid, 'm' || month_day || unnest(name_keys) FROM keys
    UNION ALL SELECT rid, 'a' || street || '/' || coalesce(post_code, city, '') FROM keys
    UNION ALL SELECT rid, 'g' || unnest([family_key, given_key]) || '/' || street FROM keys
) WHERE key IS NOT NULL

-- pairs --
-- A key that more than {most} records have is no help (the others still find the pair), nor are two names that more than
-- {namesakes} have. Only pairs of which one record at least has changed. *sure*: known by the same.
CREATE OR REPLACE TABLE pairs AS
WITH told AS (SELECT b.rid, b.key, p.changed FROM block AS b JOIN person AS p USING (rid)),
useful AS (
    SELECT key FROM told GROUP BY key
    HAVING count(*) BETWEEN 2 AND CASE left(key, 1) WHEN 'n' THEN {namesakes} ELSE {most} END AND bool_or(changed)
),
kept AS (SELECT rid, key, changed FROM told JOIN useful USING (key))
SELECT '0' AS match_key, l.rid AS join_key_l, r.rid AS join_key_r, bool_or(left(l.key, 1) IN ('i', 'x')) AS sure
FROM kept AS l JOIN kept AS r ON l.key = r.key AND l.rid < r.rid
WHERE l.changed OR r.changed
GROUP BY 1, 2, 3

-- pass --
CREATE OR REPLACE TABLE pairs_now AS SELECT match_key, join_key_l, join_key_r FROM pairs WHERE sure = {sure}

-- keep pass --
CREATE TABLE IF NOT EXISTS scored (
    left_rid BIGINT, right_rid BIGINT, probability DOUBLE, weight DOUBLE, levels INT[], weights DOUBLE[])

-- add pass --
INSERT INTO scored SELECT rid_l, rid_r, match_probability, match_weight, [{levels}], [{weights}] FROM {predicted}

-- scored --
SELECT s.left_rid, s.right_rid, s.probability, s.weight, s.levels, s.weights, l.source = r.source, l.gone, r.gone
FROM scored AS s JOIN incoming AS l ON l.rid = s.left_rid JOIN incoming AS r ON r.rid = s.right_rid
ORDER BY 1, 2

-- contradictions --
-- Groups (`member`) of which two records cannot be one person: one source gives them different identifiers, or their
-- birth dates differ and no identifier says that they are one after all.
SELECT DISTINCT l.component
FROM member AS l JOIN member AS r ON l.component = r.component AND l.rid < r.rid
JOIN (SELECT {left_columns} FROM person) AS pl ON rid_l = l.rid
JOIN (SELECT {right_columns} FROM person) AS pr ON rid_r = r.rid
WHERE NOT coalesce(list_has_any(identifiers_l, identifiers_r), false)
  AND (source_l = source_r AND list_has_any(systems_l, systems_r)
       OR NOT ({birth_missing}) AND NOT ({birth_alike}))

-- keys --
SELECT rid, source, feed, source_id FROM incoming
