"""One process, psycopg 3: read with lxml, upsert by executemany (which pipelines)."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from bench.opponents import table
from bench.opponents.fields import citations

_SCHEMA = "by_executemany"
_BATCH = 500


def load(path: Path, dsn: str) -> int:
    """Load the PubMed file *path*; return the rows sent."""
    statement = table.upsert(_SCHEMA)
    rows = 0
    with psycopg.connect(dsn) as conn:
        table.create(conn, _SCHEMA)
        for batch in table.batches(map(table.adapted, citations(path)), _BATCH):
            with conn.transaction(), conn.cursor() as cursor:
                cursor.executemany(statement, batch)
            rows += len(batch)
    return rows


def load_studies(path: Path, dsn: str) -> int:
    """Load the array of studies *path*; return the rows sent."""
    statement = table.upsert(_SCHEMA, "study", table.STUDY_COLUMNS)
    rows = 0
    with psycopg.connect(dsn) as conn:
        table.create(conn, _SCHEMA, "study", table.STUDY_COLUMNS)
        for batch in table.batches(table.studies(path), 100):
            for row in batch:
                row["study"] = Jsonb(row["study"])
            with conn.transaction(), conn.cursor() as cursor:
                cursor.executemany(statement, batch)
            rows += len(batch)
    return rows


if __name__ == "__main__":
    table.run(load)
