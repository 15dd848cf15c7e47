"""pandas, as most people load a CSV export: ``read_csv`` in chunks, every column as text, and ``to_sql``.

The table has neither key nor index: a second load would double it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
from sqlalchemy import create_engine, text

_SCHEMA = "by_pandas"
_ROWS = 20_000  # of a chunk
_PARAMETERS = 60_000  # of a statement: Postgres takes 65,535


def load(path: Path, dsn: str) -> int:
    """Load the CSV file *path*, a row a parameter set; return the rows sent."""
    return _load(path, dsn, None)


def load_multi(path: Path, dsn: str) -> int:
    """The same with ``method="multi"``: many rows a statement."""
    return _load(path, dsn, "multi")


def _load(path: Path, dsn: str, method: str | None) -> int:
    import pandas

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    rows = 0
    with engine.begin() as conn:
        conn.execute(text(f"CREATE SCHEMA {_SCHEMA}"))
    for chunk in pandas.read_csv(path, dtype=str, chunksize=_ROWS, keep_default_na=False):
        many = _PARAMETERS // len(chunk.columns) if method else None
        chunk.to_sql("record", engine, _SCHEMA, if_exists="append", index=False, method=method, chunksize=many)  # type: ignore[arg-type]
        rows += len(chunk)
    return rows


if __name__ == "__main__":
    print(load(Path(sys.argv[1]), sys.argv[2]), "rows")
