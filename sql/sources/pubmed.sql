-- PubMed: one table of citations, its facts, and views for what people join. docs/pubmed-columns.md says what is in each column.

-- migrate 1 --
CREATE SCHEMA IF NOT EXISTS pubmed;
COMMENT ON SCHEMA pubmed IS 'PubMed citations of the U.S. National Library of Medicine';

CREATE TABLE pubmed.citation (
    pmid bigint NOT NULL,
    pmid_version smallint NOT NULL,
    deleted boolean NOT NULL,
    kind text,
    status text,
    owner text,
    indexing_method text,
    version_id text,
    version_date text,
    title text,
    vernacular_title text,
    abstract text,
    abstract_sections jsonb,
    abstract_copyright text,
    other_abstracts jsonb,
    journal_title text,
    journal_iso text,
    issn text,
    issn_type text,
    volume text,
    issue text,
    cited_medium text,
    pub_model text,
    pages text,
    start_page text,
    end_page text,
    pub_date date,
    pub_date_text text,
    article_dates jsonb,
    medline_ta text,
    nlm_unique_id text,
    issn_linking text,
    country text,
    languages text[],
    authors jsonb,
    authors_complete boolean,
    investigators jsonb,
    mesh jsonb,
    supplemental_mesh jsonb,
    keywords text[],
    keyword_lists jsonb,
    publication_types text[],
    publication_type_uis text[],
    chemicals jsonb,
    grants jsonb,
    grants_complete boolean,
    databanks_complete boolean,
    databanks jsonb,
    article_ids jsonb,
    elocation_ids jsonb,
    doi text,
    pmc text,
    reference_list jsonb,
    number_of_references text,
    coi_statement text,
    publication_status text,
    comments_corrections jsonb,
    history jsonb,
    citation_subsets text[],
    gene_symbols text[],
    space_flight_missions text[],
    personal_name_subjects jsonb,
    other_ids jsonb,
    general_notes jsonb,
    objects jsonb,
    date_completed date,
    date_revised date,
    date_created date,
    book jsonb,
    location_labels jsonb,
    sections jsonb,
    item_lists jsonb,
    contribution_date jsonb,
    extra jsonb,
    PRIMARY KEY (pmid, pmid_version)
);
COMMENT ON TABLE pubmed.citation IS 'Every version of every citation, articles and books, and the tombstones of deleted ones';
COMMENT ON COLUMN pubmed.citation.deleted IS 'true: NLM deleted it; all other columns but the key are NULL';
COMMENT ON COLUMN pubmed.citation.abstract IS 'the whole abstract, sections joined by newlines, each with its label';
COMMENT ON COLUMN pubmed.citation.pub_date IS 'the first day that the date of publication names; pub_date_text has its words';
COMMENT ON COLUMN pubmed.citation.extra IS 'elements and attributes of a newer DTD that no column is for yet';
CREATE INDEX citation_doi ON pubmed.citation (doi) WHERE doi IS NOT NULL;
CREATE INDEX citation_databanks ON pubmed.citation USING gin (databanks jsonb_path_ops) WHERE databanks IS NOT NULL;

-- Narrow, and asked before anything is written: an unchanged citation costs neither a lock nor WAL.
CREATE TABLE pubmed.citation_fact (
    pmid bigint NOT NULL,
    pmid_version smallint NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    run_id bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (pmid, pmid_version)
);
COMMENT ON TABLE pubmed.citation_fact IS 'What the loader knows of each citation without reading it';
COMMENT ON COLUMN pubmed.citation_fact.version IS 'orders copies of a citation: year, file number, place in the file';
COMMENT ON COLUMN pubmed.citation_fact.run_id IS 'the run that last moved the version; see medmirror.run';
COMMENT ON COLUMN pubmed.citation_fact.digest IS 'first 16 bytes of SHA-256 of the citation''s bytes as published';
CREATE INDEX citation_fact_run ON pubmed.citation_fact USING brin (run_id);

CREATE VIEW pubmed.article AS
SELECT c.*
FROM pubmed.citation AS c
WHERE NOT c.deleted
  AND NOT EXISTS (
      SELECT FROM pubmed.citation AS newer
      WHERE newer.pmid = c.pmid AND newer.pmid_version > c.pmid_version AND NOT newer.deleted);
COMMENT ON VIEW pubmed.article IS 'The newest living version of each PMID';

CREATE VIEW pubmed.author AS
SELECT c.pmid, c.pmid_version, a.position::int AS position,
       a.author->>'last_name' AS last_name, a.author->>'fore_name' AS fore_name, a.author->>'initials' AS initials,
       a.author->>'suffix' AS suffix, a.author->>'collective_name' AS collective_name,
       -- publishers write 0000-0002-1825-0097 with and without hyphens, a host before it, a slash behind it
       regexp_replace(jsonb_path_query_first(a.author, '$.identifiers[*] ? (@.source == "ORCID").value') #>> '{}',
                      '^.*?(\d{4})-?(\d{4})-?(\d{4})-?(\d{3}[\dX]).*$', '\1-\2-\3-\4') AS orcid,
       ARRAY(SELECT jsonb_path_query(a.author, '$.affiliations[*].name') #>> '{}') AS affiliations,
       (a.author->>'equal_contrib')::boolean AS equal_contrib, (a.author->>'valid')::boolean AS valid
FROM pubmed.citation AS c, jsonb_array_elements(c.authors) WITH ORDINALITY AS a(author, position)
WHERE NOT c.deleted;
COMMENT ON VIEW pubmed.author IS 'One row an author of each living version, in the order of the byline';

CREATE VIEW pubmed.mesh_heading AS
SELECT c.pmid, c.pmid_version, h.position::int AS position,
       h.heading->>'ui' AS descriptor_ui, h.heading->>'descriptor' AS descriptor,
       q.qualifier->>'ui' AS qualifier_ui, q.qualifier->>'qualifier' AS qualifier,
       coalesce((h.heading->>'major')::boolean, false) OR coalesce((q.qualifier->>'major')::boolean, false) AS major,
       (h.heading->>'major')::boolean AS descriptor_major, (q.qualifier->>'major')::boolean AS qualifier_major
FROM pubmed.citation AS c
CROSS JOIN jsonb_array_elements(c.mesh) WITH ORDINALITY AS h(heading, position)
LEFT JOIN jsonb_array_elements(h.heading->'qualifiers') WITH ORDINALITY AS q(qualifier, place) ON true
WHERE NOT c.deleted;
COMMENT ON VIEW pubmed.mesh_heading IS 'One row a descriptor and qualifier (qualifier NULL when it has none); major: either is starred';

CREATE VIEW pubmed.reference AS
SELECT c.pmid, c.pmid_version, r.position::int AS position, r.reference->>'citation' AS citation,
       CASE WHEN r.cited ~ '^[0-9]{1,18}$' THEN r.cited::bigint END AS cited_pmid,
       jsonb_path_query_first(r.reference, '$.article_ids[*] ? (@.type == "doi").value') #>> '{}' AS doi
FROM pubmed.citation AS c
CROSS JOIN LATERAL (
    -- ** visits a list before what is nested in it. (A recursive query would do too, but Postgres expects a hundred
    -- million rows of it for each citation, and then reads whole tables to join them.)
    SELECT one.position, one.reference,
           jsonb_path_query_first(one.reference, '$.article_ids[*] ? (@.type == "pubmed").value') #>> '{}' AS cited
    FROM jsonb_path_query(c.reference_list, 'strict $.**.references[*]') WITH ORDINALITY AS one(reference, position)
) AS r
WHERE NOT c.deleted AND c.reference_list IS NOT NULL;
COMMENT ON VIEW pubmed.reference IS 'One row a reference of each living version, nested lists after their parents';

CREATE VIEW pubmed.databank_accession AS
SELECT c.pmid, c.pmid_version, b.bank->>'name' AS databank, a.accession, a.position::int AS position
FROM pubmed.citation AS c
CROSS JOIN jsonb_array_elements(c.databanks) AS b(bank)
CROSS JOIN jsonb_array_elements_text(b.bank->'accessions') WITH ORDINALITY AS a(accession, position)
WHERE NOT c.deleted AND c.databanks IS NOT NULL;
COMMENT ON VIEW pubmed.databank_accession IS
    'One row an accession number: databank ClinicalTrials.gov leads to clinicaltrials.study.nct_id';

-- migrate 2 --
SELECT medmirror.keep_digest('pubmed.citation_fact');

-- migrate 3 --
-- What orders copies of one version: see ingest/order.py.
ALTER TABLE pubmed.citation_fact ADD COLUMN tie bigint NOT NULL DEFAULT 0, ADD COLUMN place bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN pubmed.citation_fact.tie IS 'orders copies of one version: the day of the last revision, as the number YYYYMMDD; 0: see the citation';
COMMENT ON COLUMN pubmed.citation_fact.place IS 'orders copies of one version that nothing else orders: load, file, and place in the file';

-- migrate 4 --
-- Columns without a default, and a view: no row is rewritten. Rows of before have no pub_year of their own, so the view
-- reads it from the words; they get all three columns when they are loaded again. The index on doi is made anew: one that
-- holds a hash takes a text of any length.
ALTER TABLE pubmed.citation
    ADD COLUMN title_markup text,
    ADD COLUMN abstract_markup text,
    ADD COLUMN pub_year smallint;
COMMENT ON COLUMN pubmed.citation.title_markup IS 'the title with its markup, as XML; NULL where there is none';
COMMENT ON COLUMN pubmed.citation.abstract_markup IS 'the abstract with its markup, as XML; NULL where there is none';
COMMENT ON COLUMN pubmed.citation.pub_year IS
    'the year of pub_date; NULL in rows of versions before 0.3, for which pubmed.article and pubmed.year_of have it';
DROP INDEX pubmed.citation_doi;
CREATE INDEX citation_doi ON pubmed.citation USING hash (doi) WHERE doi IS NOT NULL;

CREATE FUNCTION pubmed.year_of(pub_date date, pub_date_text text) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CAST(coalesce(CAST(extract(year FROM pub_date) AS text),
                     substring(pub_date_text FROM '(?:^|[^0-9])([12][0-9]{3})(?:$|[^0-9])')) AS smallint);
COMMENT ON FUNCTION pubmed.year_of(date, text) IS 'the first year that a date of publication or its words state';

CREATE OR REPLACE VIEW pubmed.article AS
SELECT c.pmid, c.pmid_version, c.deleted, c.kind, c.status, c.owner, c.indexing_method, c.version_id,
       c.version_date, c.title, c.vernacular_title, c.abstract, c.abstract_sections, c.abstract_copyright,
       c.other_abstracts, c.journal_title, c.journal_iso, c.issn, c.issn_type, c.volume, c.issue,
       c.cited_medium, c.pub_model, c.pages, c.start_page, c.end_page, c.pub_date, c.pub_date_text,
       c.article_dates, c.medline_ta, c.nlm_unique_id, c.issn_linking, c.country, c.languages, c.authors,
       c.authors_complete, c.investigators, c.mesh, c.supplemental_mesh, c.keywords, c.keyword_lists,
       c.publication_types, c.publication_type_uis, c.chemicals, c.grants, c.grants_complete,
       c.databanks_complete, c.databanks, c.article_ids, c.elocation_ids, c.doi, c.pmc, c.reference_list,
       c.number_of_references, c.coi_statement, c.publication_status, c.comments_corrections, c.history,
       c.citation_subsets, c.gene_symbols, c.space_flight_missions, c.personal_name_subjects, c.other_ids,
       c.general_notes, c.objects, c.date_completed, c.date_revised, c.date_created, c.book, c.location_labels,
       c.sections, c.item_lists, c.contribution_date, c.extra, c.title_markup, c.abstract_markup,
       coalesce(c.pub_year, pubmed.year_of(c.pub_date, c.pub_date_text)) AS pub_year
FROM pubmed.citation AS c
WHERE NOT c.deleted
  AND NOT EXISTS (
      SELECT FROM pubmed.citation AS newer
      WHERE newer.pmid = c.pmid AND newer.pmid_version > c.pmid_version AND NOT newer.deleted);

-- search citation --
-- A tsvector holds 1 MB: the first part is taken of whatever has no limit of its own. Identifiers stand behind an equals
-- sign, as a whole: search/query.py asks for them so.
SELECT pmid, pmid_version,
       array_to_tsvector(array_remove(ARRAY['=' || pmid, '=' || left(lower(pmc), 200), '=' || left(lower(doi), 200)], NULL))
       || setweight(medmirror.search_vector(left(concat_ws(' ', title, vernacular_title), 20000)), 'A')
       || setweight(medmirror.search_vector(left(concat_ws(' ', array_to_string(keywords, ' '),
              (SELECT string_agg(name #>> '{}', ' ') FROM jsonb_path_query(mesh, '$[*].descriptor') AS name),
              (SELECT string_agg(name #>> '{}', ' ') FROM jsonb_path_query(supplemental_mesh, '$[*].name') AS name),
              (SELECT string_agg(name #>> '{}', ' ') FROM jsonb_path_query(chemicals, '$[*].name') AS name),
              array_to_string(publication_types, ' '), array_to_string(gene_symbols, ' '), book ->> 'title'), 100000)), 'B')
       || setweight(medmirror.search_vector(left(concat_ws(' ', abstract,
              (SELECT string_agg(part #>> '{}', ' ') FROM jsonb_path_query(other_abstracts, '$[*].sections[*].text') AS part),
              (SELECT string_agg(part #>> '{}', ' ') FROM jsonb_path_query(databanks, '$[*].accessions[*]') AS part)),
              200000)), 'C')
       || setweight(medmirror.search_vector(left(concat_ws(' ', pmid, pmc, left(doi, 2000),
              (SELECT string_agg(name #>> '{}', ' ') FROM jsonb_path_query(authors, '$[*].last_name') AS name),
              (SELECT string_agg(name #>> '{}', ' ') FROM jsonb_path_query(authors, '$[*].collective_name') AS name)),
              100000)), 'D') AS document
FROM pubmed.citation

-- headline citation --
SELECT pmid, pmid_version, coalesce(nullif(title, ''), vernacular_title, '') AS title,
       concat_ws(' ', title, vernacular_title, abstract,
                 (SELECT string_agg(part #>> '{}', ' ')
                  FROM jsonb_path_query(other_abstracts, '$[*].sections[*].text') AS part)) AS body
FROM pubmed.citation
