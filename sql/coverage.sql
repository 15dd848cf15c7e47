-- What `medmirror mapping coverage` reads. {table} is a feed's wide table, {document} its column with the whole record,
-- {kind} what tells the kind of record.

-- documents --
SELECT {kind} AS feed, CAST({document} AS text) AS document
FROM {table}
WHERE NOT deleted AND {document} IS NOT NULL
  AND (CAST(:organization AS text) IS NULL OR organization_id = :organization)
LIMIT :most
