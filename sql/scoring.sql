-- The statements of matching/scoring.py. They run in a DuckDB within the process, not in Postgres: `canonical` holds the
-- records of one entity of one organisation, with parts of the canonical record as JSON text.

-- limits --
-- What does not fit goes to files in a folder of the run's own.
SET memory_limit = '{memory}'; SET temp_directory = '{folder}'; SET preserve_insertion_order = false;
SET enable_progress_bar = false;

-- macros --
CREATE OR REPLACE MACRO plain(x) AS nullif(regexp_replace(lower(strip_accents(x)), '[^\p{{L}}]', '', 'g'), '');
CREATE OR REPLACE MACRO words(x) AS nullif(trim(regexp_replace(lower(strip_accents(x)), '[^\p{{L}}\p{{N}}]+', ' ', 'g')), '');
CREATE OR REPLACE MACRO sorted(x) AS nullif(list_sort(list_distinct(list_filter(x, lambda y: y IS NOT NULL AND y <> ''))), []);
-- What is left of a name that is heard alike and spelled otherwise: its first letter and consonants.
CREATE OR REPLACE MACRO heard(x) AS left(x, 1) || left(regexp_replace(substr(x, 2), '[aeiouyhw]', '', 'g'), 4);
CREATE OR REPLACE MACRO digits(x) AS regexp_replace(x, '\D', '', 'g');
-- All digits the same, a run up or down the keyboard, two or three digits over and over.
CREATE OR REPLACE MACRO typed_along(x) AS
    length(x) >= 4 AND replace(x, left(x, 1), '') = ''
    OR length(x) >= 6 AND (contains('01234567890123456789', x) OR contains('98765432109876543210', x))
    OR length(x) >= 6 AND (x = repeat(left(x, 2), length(x) // 2) OR x = repeat(left(x, 3), length(x) // 3));
-- What stands in the field of a number and is none: a word, a number that a form was satisfied with, one that is masked.
CREATE OR REPLACE MACRO no_number(x) AS
    NOT regexp_matches(x, '[1-9]') OR regexp_matches(x, '[*#?]|^\s*-\s*\d+$')
    OR regexp_matches(upper(x), 'X[\s.-]*X[\s.-]*X')
    OR regexp_matches(upper(regexp_replace(x, '[^\p{{L}}\p{{N}}]', '', 'g')),
                      '^(UNK|PEND|NONE|DUMMY|TEST|FAKE|DEFAULT|MISS|PLACEH|INVALID|NOT(KN|AV|GI|PR|ST|AP|RE)|REFUS|DECLIN|TB[ACD]\d|NA\d|NIL|NULL|TEMP)')
    OR typed_along(digits(x)) OR trim(x) IN ('12345', '54321')
    OR digits(x) IN ('078051120', '219099999', '457555462', '111223333', '123121234');
CREATE OR REPLACE MACRO no_phone(x) AS
    length(digits(x)) < 6 OR typed_along(digits(x))
    OR regexp_matches(digits(x), '(0{{6}}|1{{6}}|2{{6}}|3{{6}}|4{{6}}|5{{6}}|6{{6}}|7{{6}}|8{{6}}|9{{6}}|1234567|2345678|3456789|4567890|7654321|8765432|9876543|6543210)$');
-- Words that are typed because a form wants a mail address, and boxes of a practice.
CREATE OR REPLACE MACRO no_email(x) AS
    NOT regexp_matches(x, '^[^@\s]+@[^@\s]+$')
    OR regexp_matches(x, '^((no|not|none|non|nil|null|na|n\.a|n/a|unknown|unk|declined|refused|decline|refuse|pending|tba|tbc|test|testing|fake|dummy|anon|anonymous|x+|a|aa|aaa|abc|asdf|0+|123|1234|12345|patient|email|mail|nomail|noemail|noreply|donotreply|info|admin|reception|office|contact|nobody|someone)([._-]*(email|e-?mail|mail|address|reply|given|provided|known|supplied|available|recorded|one))*\d?)@')
    OR regexp_matches(x, '@(no-?e?-?mail|none|unknown|test|nowhere|noaddress)\.[a-z.]+$');
CREATE OR REPLACE MACRO no_street(x) AS
    regexp_full_match(x, '(no (fixed|known|permanent) (address|abode|residence|home)|nfa|homeless|unknown|not (known|given|stated|provided|recorded)|address unknown|unknown address|none|n a|na|nil|null|tba|tbc|test|x+|general delivery|poste restante|no address( given)?|return(ed)? mail|moved)');
-- A given name that says that there is none: of a newborn child, of somebody whom nobody knows, of a record for trial. With
-- a digit it is a place among twins, or no name.
CREATE OR REPLACE MACRO no_given(x) AS
    words(x) IS NULL OR regexp_matches(lower(x), '\d|^\s*[bsd]\s?/\s?o\b')
    OR regexp_matches(words(x), '^(baby|babe|bab[iy] ?(boy|girl)|bb|bg|bebe|newborn|new born|nb|neonat[eo]|neugeborenes|saugling|infant|inf|twins?|triplets?|quadruplets?|zwilling|drilling|gemel[oa]|jum(eau|elle)|recien nacido|rn de)( |$)')
    OR regexp_full_match(words(x), '(boy|girl|male|female|junge|knabe|madchen)( ([a-z]|i+|one|two|three|infant|child|baby|newborn|twin|unknown))?')
    OR regexp_matches(words(x), '(( |s)(boy|girl|baby)|(^| )(twin|triplet|infant|newborn))( ([a-z]|i+|one|two|three))?$')
    OR regexp_matches(words(x), '(^| |s)(baby|twin|boy|girl)([a-c]|i+)$')
    OR regexp_matches(words(x), '(^| )(of|fils de|fille de|enfant de|hijo de|hija de|filho de|filha de|sohn von|tochter von)( |$)')
    OR regexp_full_match(words(x), '(the )?(unknown|unk|unidentified|unnamed|no name|noname|nameless|not (yet )?(named|known|given|stated|provided|available|applicable|recorded)|name (pending|unknown)|no (first|given) name|(first|given)? ?name|firstname|none|na|n a|nil|null|nn|n n|nfn|nmn|fnu|lnu|nomen nescio|tba|tbc|tbd|pending|anon|anonymous|unbekannt|inconnue?|desconocid[oa]|sconosciut[oa]|onbekend|okand|unknown (man|woman|male|female|person)|john doe|jane doe|test|testing|test patient|patient|dummy|x+|z+|mr|mrs|ms|miss|mx|mst|mstr|master|dr|herr|frau|child|kind|self)');
CREATE OR REPLACE MACRO no_family(x) AS
    words(x) IS NULL OR regexp_matches(lower(x), '\d|^\s*[bsd]\s?/\s?o\b')
    OR regexp_matches(words(x), '^(baby|newborn|new born|infant|twins?|triplets?|boy|girl|unknown|unidentified|recien nacido|rn de)( |$)')
    OR regexp_matches(words(x), '(^| )(baby|newborn|infant|twin|triplet|boy|girl)( ?([a-z]|i+|one|two|three))?$')
    OR regexp_matches(words(x), '^(baby|child|son|daughter|infant|boy|girl) of ')
    OR regexp_full_match(words(x), '(unk|unnamed|no name|noname|not (named|known|given|stated|provided|available|recorded)|no (last|family|sur) ?name|(last|family|sur) ?name|none|n a|nn|n n|nln|lnu|fnu|nomen nescio|tba|tbc|tbd|pending|anonymous|unbekannt|inconnue?|desconocid[oa]|sconosciut[oa]|onbekend|okand|test|testing|testpatient|test patient|patient|dummy|doe|xx+|zz+)');
-- Father and son of one name: what tells them apart, wherever it is written.
CREATE OR REPLACE MACRO generation_of(x) AS
    CASE WHEN x IN ('sr', 'snr', 'senior', 'sen', 'i', '1st', 'pere') THEN '1'
         WHEN x IN ('jr', 'jnr', 'junior', 'jun', 'ii', '2nd', 'fils', 'filho', 'hijo') THEN '2'
         WHEN x IN ('iii', '3rd', 'neto', 'nieto') THEN '3' WHEN x IN ('iv', '4th') THEN '4' WHEN x IN ('v', '5th') THEN '5' END;
CREATE OR REPLACE MACRO generations(x) AS
    list_filter(list_transform(string_split(coalesce(words(x), ''), ' '), lambda y: generation_of(y)), lambda y: y IS NOT NULL);
CREATE OR REPLACE MACRO without_generation(x) AS
    coalesce(nullif(trim(regexp_replace(x, '(?i)[\s,(]+(jr|jnr|junior|sr|snr|senior|ii|iii|iv|2nd|3rd|4th|filho|neto)\b[.)]*\s*$', '')), ''), x);
-- Behind a name only what can be nothing else: I and V are initials there.
CREATE OR REPLACE MACRO generation_behind(x) AS
    generations(regexp_extract(coalesce(x, ''), '(?i)[\s,(]+(jr|jnr|junior|sr|snr|senior|ii|iii|iv|2nd|3rd|4th|filho|neto)\b[.)]*\s*$', 1))[1];

-- incoming --
-- The facts that records are compared by; lists as lists, little cleaned yet. Addresses and telephones of former times or
-- of other people are left out, identifiers that the insured of one policy share, and what is typed because a form wants
-- something.
CREATE OR REPLACE TABLE incoming AS
WITH parts AS (
    SELECT * EXCLUDE (names, phones, emails, addresses, identifiers, replaces),
           from_json(names, '[{{"use":{{"code":"VARCHAR"}},"family":"VARCHAR","given":["VARCHAR"],"suffix":"VARCHAR","text":"VARCHAR"}}]') AS names,
           from_json(phones, '[{{"use":{{"code":"VARCHAR"}},"raw":"VARCHAR","e164":"VARCHAR"}}]') AS phones,
           from_json(emails, '[{{"use":{{"code":"VARCHAR"}},"address":"VARCHAR"}}]') AS emails,
           list_filter(from_json(addresses, '[{{"use":{{"code":"VARCHAR"}},"lines":["VARCHAR"],"text":"VARCHAR","city":"VARCHAR","post_code":"VARCHAR"}}]'),
                       lambda a: coalesce(a.use.code, '') NOT IN ('OLD', 'TEMP', 'BILLING'))[1] AS address,
           from_json(replaces, '[{{"feed":"VARCHAR","id":"VARCHAR"}}]') AS replaces,
           list_transform(
               list_filter(
                   from_json(identifiers, '[{{"use":{{"code":"VARCHAR"}},"system":"VARCHAR","type":"VARCHAR","value":"VARCHAR"}}]'),
                   lambda i: i.value IS NOT NULL AND NOT no_number(i.value)),
               lambda i: {{'use': coalesce(i.use.code, ''), 'type': upper(coalesce(i.type, '')), 'system': i.system,
                           'value': upper(regexp_replace(i.value, '[\s-]', '', 'g'))
                                    || CASE WHEN i.type = 'MEDICARE' THEN coalesce(card_place, '') ELSE '' END}}) AS identifiers
    FROM canonical
),
numbered AS (
    -- `one`: a number that a person has only one of, so that two differ if these do. (A practice has as many numbers for a
    -- person as it has records of the person.)
    SELECT * REPLACE (list_transform(identifiers, lambda i: {{
               'use': i.use, 'type': i.type, 'system': i.system, 'value': i.value,
               'one': i.type IN ('SS', 'NI', 'NH', 'NPI', 'NIIP', 'IHI', 'HC', 'JHN', 'MC', 'MEDICARE', 'DVA', 'PPN', 'TAX')
                      OR regexp_matches(lower(coalesce(i.system, '')), 'ssn|nhs-?number|npi|ihi|national|medicare|dva')}}) AS identifiers)
    FROM parts
),
known AS (
    -- The number of an Australian Medicare card is a family's; with the place on the card it is a person's. A number whose
    -- system nobody names is its source's own. Four digits of a social security number are its end.
    SELECT *, list_transform(
                  list_filter(identifiers, lambda i: (i.system IS NOT NULL OR i.type <> '') AND i.use NOT IN ('OLD', 'TEMP')
                      AND i.type NOT IN ('MB', 'SN', 'SB', 'AN', 'VN', 'FILL', 'PLAC')
                      AND (length(i.value) >= 11 OR NOT regexp_matches(i.type || ' ' || upper(coalesce(i.system, '')), '\bMC\b|MEDICARE'))
                      AND (length(i.value) > 4 OR NOT regexp_matches(i.type || ' ' || upper(coalesce(i.system, '')), '\bSS\b|SSN'))),
                  lambda i: {{'number': replace(coalesce(i.system, CASE WHEN i.one THEN i.type ELSE source || ' ' || i.type END), '|', '/')
                                        || '|' || i.value,
                              'one': i.one}}) AS known
    FROM numbered
),
named AS (
    -- A name in one piece: "Family, Given", or the last word is the family's.
    SELECT *, without_generation(names[1].text) AS whole,
           coalesce(names[1].family, CASE WHEN contains(whole, ',') THEN split_part(whole, ',', 1)
                                          ELSE regexp_extract(trim(whole), '\s(\S+)$', 1) END) AS family_text,
           coalesce(names[1].given, string_split(
               CASE WHEN names[1].family IS NOT NULL THEN NULL
                    WHEN contains(whole, ',') THEN trim(split_part(whole, ',', 2))
                    ELSE regexp_extract(trim(whole), '^(.*)\s\S+$', 1) END, ' ')) AS given_texts,
           nullif(trim(array_to_string(given_texts, ' ')), '') AS given_text
    FROM known
)
SELECT row_number() OVER (ORDER BY source, feed, source_id) AS rid, source, feed, source_id, changed, gone,
       concat_ws(chr(31), source, feed, source_id) AS key,
       list_distinct(list_filter(list_concat(list_transform(replaces, lambda r: source || chr(31) || r.feed || chr(31) || r.id),
                                             [source || chr(31) || merged_into]),
                                 lambda k: k IS NOT NULL)) AS merges,
       without_generation(family_text) AS family,
       CASE WHEN given_texts[1] IS NOT NULL THEN without_generation(given_texts[1]) END AS given,
       list_filter(given_texts[2:], lambda g: generation_behind(' ' || g) IS NULL) AS middles,
       coalesce(list_filter(list_transform(names, lambda n: generations(n.suffix)[1]), lambda g: g IS NOT NULL)[1],
                generation_behind(names[1].text), generation_behind(family_text), generation_behind(given_text)) AS generation,
       coalesce(family_text <> '' AND no_family(family_text), false) OR coalesce(given_text IS NOT NULL AND no_given(given_text), false) AS nameless,
       list_filter(list_transform(names, lambda n: without_generation(n.family)), lambda f: f IS NOT NULL) AS families,
       flatten(list_transform(names, lambda n: coalesce(n.given, []))) AS givens,
       birth_date, lower(sex) AS sex,
       list_filter(
           list_transform(list_filter(phones, lambda p: coalesce(p.use.code, '') NOT IN ('OLD', 'TEMP', 'FAX', 'EMERGENCY')),
                          lambda p: coalesce(p.e164, digits(p.raw))),
           lambda p: NOT no_phone(p)) AS phones,
       list_filter(
           list_transform(list_filter(emails, lambda e: coalesce(e.use.code, '') NOT IN ('OLD', 'TEMP')),
                          lambda e: lower(trim(e.address))),
           lambda e: NOT no_email(e)) AS emails,
       CASE WHEN NOT coalesce(no_street(words(coalesce(array_to_string(address.lines, ' '), address.text))), false)
            THEN coalesce(array_to_string(address.lines, ' '), address.text) END AS street,
       address.city AS city, address.post_code AS post_code,
       list_transform(known, lambda i: i.number) AS identifiers,
       list_transform(list_filter(known, lambda i: i.one), lambda i: i.number) AS numbers
FROM named

-- shared values --
-- Telephones, mail addresses and identifiers that so many records bear that they tell nothing of a person: the practice's
-- own, or what people type when a form wants something. Of an identifier a few bearers are too many when their names and
-- birth dates are those of as many people.
CREATE OR REPLACE TABLE shared_value AS
SELECT value FROM (
    SELECT rid, unnest(phones) AS value, NULL AS family, NULL AS given, NULL AS birth_date FROM incoming
    UNION ALL SELECT rid, unnest(emails), NULL, NULL, NULL FROM incoming
    UNION ALL SELECT rid, unnest(identifiers), plain(family), plain(given), birth_date FROM incoming
) GROUP BY value
HAVING count(DISTINCT rid) > {shared}
    OR least(count(DISTINCT family), count(DISTINCT given), count(DISTINCT birth_date)) > {bearers}

-- family numbers --
-- Personal numbers that a parent and several children bear: the parent's.
CREATE OR REPLACE TABLE family_number AS
SELECT value FROM (SELECT unnest(numbers) AS value, plain(given) AS given, TRY_CAST(left(birth_date, 4) AS INT) AS year FROM incoming)
GROUP BY value HAVING count(DISTINCT given) > 2 AND max(year) - min(year) >= 12

-- birth days --
-- Which birth dates are none. `day`: so many different names on one day of a month, among those born in it, that it is what
-- is typed when nobody knows. `month_day`: so many on this day of all years, that it stands for the year.
CREATE OR REPLACE TABLE birth_day AS
WITH days AS (
    SELECT birth_date, count(DISTINCT concat_ws(' ', plain(family), plain(given))) AS people
    FROM incoming WHERE length(birth_date) = 10 GROUP BY 1
)
SELECT birth_date,
       left(birth_date, 4) < '1880' OR birth_date > CAST(current_date + 1 AS VARCHAR)
       OR birth_date IN ('1899-12-30', '1899-12-31', '1900-01-01', '1901-01-01', '1904-01-01', '1911-11-11', '1970-01-01')
       OR people > {filler} + 5 * sum(people) OVER (PARTITION BY left(birth_date, 7)) / 30 AS nobody_knows,
       substr(birth_date, 6) = '01-01'
       OR sum(people) OVER (PARTITION BY substr(birth_date, 6)) > {filler} + 4 * sum(people) OVER () / 365 AS year_only
FROM days

-- given names --
-- Spellings that are names, not slips of a key: many bear them here, or they are known as such.
CREATE OR REPLACE TABLE given_name AS
SELECT plain(given) AS given FROM incoming WHERE given IS NOT NULL
GROUP BY 1 HAVING count(DISTINCT birth_date) >= {named}
UNION SELECT unnest(string_split('{names}', ' '))

-- person --
CREATE OR REPLACE TABLE person AS
WITH common AS (SELECT coalesce(list(value), []) AS value FROM shared_value),
familys AS (SELECT coalesce(list(value), []) AS value FROM family_number),
mentioned AS (SELECT DISTINCT unnest(merges) AS mentioned FROM incoming),
cleaned AS (
    SELECT i.* REPLACE (
               sorted(list_filter(phones, lambda y: NOT list_contains(c.value, y))) AS phones,
               sorted(list_filter(emails, lambda y: NOT list_contains(c.value, y))) AS emails,
               sorted(list_filter(identifiers, lambda y: NOT list_contains(c.value, y))) AS identifiers,
               sorted(list_filter(numbers, lambda y: NOT list_contains(c.value, y))) AS numbers,
               CASE WHEN i.birth_date IN ('', '1900', '1900-01') OR left(i.birth_date, 4) < '1880' OR d.nobody_knows THEN NULL
                    WHEN d.year_only THEN left(i.birth_date, 4) ELSE i.birth_date END AS birth_date,
               sorted(list_concat(merges, CASE WHEN m.mentioned IS NOT NULL THEN [key] END)) AS merges),
           list_filter(numbers, lambda y: NOT list_contains(c.value, y) AND NOT list_contains(f.value, y)) AS own
    FROM incoming AS i CROSS JOIN common AS c CROSS JOIN familys AS f LEFT JOIN birth_day AS d ON d.birth_date = i.birth_date
    LEFT JOIN mentioned AS m ON m.mentioned = i.key
)
SELECT rid, source, changed, merges, generation, nameless,
       plain(family) AS family, plain(c.given) AS given, g.given IS NOT NULL AS given_known,
       plain(array_to_string(middles, ' ')) AS middle, sorted(list_transform(middles, lambda y: plain(y))) AS middles,
       sorted(list_transform(families, lambda y: plain(y))) AS families,
       sorted(list_transform(givens, lambda y: plain(y))) AS givens,
       birth_date,
       CASE WHEN length(birth_date) = 10
            THEN left(birth_date, 5) || substr(birth_date, 9, 2) || '-' || substr(birth_date, 6, 2) END AS birth_turned,
       CASE WHEN sex IN ('male', 'female') THEN sex END AS sex,
       phones, phones[1] AS phone, emails, emails[1] AS email,
       words(street) AS street, string_split(words(street), ' ') AS street_words,
       words(city) AS city, words(post_code) AS post_code,
       coalesce(TRY_CAST(rpad(birth_date, 10, '-01-01') AS DATE) > current_date - INTERVAL 18 YEAR, false) AS minor,
       own,
       identifiers, numbers[1] AS number, list_transform(numbers, lambda y: string_split(y, '|')[1]) AS systems
FROM cleaned AS c LEFT JOIN given_name AS g ON g.given = plain(c.given)

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
    UNION ALL SELECT rid, 'x' || unnest(merges) FROM person
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
-- {namesakes} have. Only pairs of which one record at least has changed. *sure*: known by the same. Of records that a merge
-- ties, however many, each is paired with the first.
CREATE OR REPLACE TABLE pairs AS
WITH told AS (SELECT b.rid, b.key, p.changed FROM block AS b JOIN person AS p USING (rid)),
useful AS (
    SELECT key FROM told GROUP BY key
    HAVING (count(*) BETWEEN 2 AND CASE left(key, 1) WHEN 'n' THEN {namesakes} ELSE {most} END OR left(key, 1) = 'x' AND count(*) > 1)
       AND bool_or(changed)
),
kept AS (
    SELECT rid, key, changed, left(key, 1) = 'x' AS merge, min(rid) OVER (PARTITION BY key) AS first FROM told JOIN useful USING (key)
)
SELECT '0' AS match_key, l.rid AS join_key_l, r.rid AS join_key_r, bool_or(left(l.key, 1) IN ('i', 'x')) AS sure
FROM kept AS l JOIN kept AS r ON l.key = r.key AND l.rid < r.rid
WHERE (l.changed OR r.changed) AND (NOT l.merge OR l.rid = l.first)
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
-- Groups (`member`) of which two records cannot be one person: sex, generation or given name differ; one source gives them
-- different identifiers, or their birth dates differ, and no identifier says that they are one after all. What their
-- source merged (`merged`) is one, whatever it says.
SELECT DISTINCT l.component
FROM member AS l JOIN member AS r ON l.component = r.component AND l.rid < r.rid AND l.merged <> r.merged
JOIN (SELECT {left_columns} FROM person) AS pl ON rid_l = l.rid
JOIN (SELECT {right_columns} FROM person) AS pr ON rid_r = r.rid
WHERE sex_l <> sex_r OR generation_l <> generation_r
   OR NOT coalesce({given_missing}, false) AND NOT coalesce({given_alike}, false) AND NOT coalesce({own}, false)
   OR NOT coalesce(list_has_any(identifiers_l, identifiers_r), false)
      AND (source_l = source_r AND list_has_any(systems_l, systems_r)
           OR NOT ({birth_missing}) AND NOT ({birth_alike}))

-- keys --
SELECT rid, source, feed, source_id FROM incoming
