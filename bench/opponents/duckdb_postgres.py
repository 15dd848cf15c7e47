"""DuckDB's Postgres extension: dicts to Arrow, INSERT into a staging table of the attached database, then one upsert
there.

The extension is not in DuckDB's wheel. Without internet it comes from PyPI as ``duckdb-extension-postgres-scanner``,
of the same version as duckdb itself, installed by ``duckdb-extensions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg.sql import SQL, Identifier

from bench.opponents import table
from bench.opponents.fields import KEY, Json, citations

_SCHEMA = "by_duckdb"
_BATCH = 5_000


def load(path: Path, dsn: str) -> int:
    """Load the PubMed file *path*; return the rows sent."""
    return _load(citations(path), dsn, "citation", KEY, table.CITATION_COLUMNS)


def load_studies(path: Path, dsn: str) -> int:
    """Load the array of studies *path*; return the rows sent."""
    return _load(table.studies(path), dsn, "study", ("nct_id",), table.STUDY_COLUMNS)


def _load(rows: Iterable[Json], dsn: str, name: str, key: Sequence[str], columns: dict[str, str]) -> int:
    duckdb, pa = import_module("duckdb"), import_module("pyarrow")
    with psycopg.connect(dsn, autocommit=True) as conn:
        table.create(conn, _SCHEMA, name, columns)
        _make_staging(conn, name, columns)
    duck = duckdb.connect(config={"threads": 2})
    import_module("duckdb_extensions").import_extension("postgres_scanner", con=duck)
    duck.execute("LOAD postgres_scanner")
    duck.execute(f"ATTACH '{_libpq(dsn)}' AS pg (TYPE postgres)")
    arrow = pa.schema([(column, _arrow(pa, kind)) for column, kind in columns.items()])
    jsonb = [column for column, kind in columns.items() if kind == "jsonb"]
    count = 0
    for batch in table.batches(rows, _BATCH if name == "citation" else 500):
        for row in batch:
            for column in jsonb:
                if row[column] is not None:
                    row[column] = orjson.dumps(row[column]).decode()
        duck.register("batch", pa.Table.from_pylist(batch, schema=arrow))
        duck.execute(f"INSERT INTO pg.{_SCHEMA}.staging_{name} SELECT * FROM batch")  # noqa: S608
        count += len(batch)
    duck.execute("CALL postgres_execute('pg', ?)", [_merge(dsn, name, key, columns)])
    duck.close()
    return count


def _make_staging(conn: psycopg.Connection[Any], name: str, columns: dict[str, str]) -> None:
    staging = Identifier(_SCHEMA, f"staging_{name}")
    kinds = [
        SQL("{} {}").format(Identifier(column), SQL("text" if kind == "jsonb" else kind))
        for column, kind in columns.items()
    ]
    conn.execute(SQL("DROP TABLE IF EXISTS {}").format(staging))
    conn.execute(SQL("CREATE UNLOGGED TABLE {} ({})").format(staging, SQL(", ").join(kinds)))


def _merge(dsn: str, name: str, key: Sequence[str], columns: dict[str, str]) -> str:
    values = [
        SQL("{}::jsonb" if kind == "jsonb" else "{}").format(Identifier(column)) for column, kind in columns.items()
    ]
    statement = SQL("INSERT INTO {} SELECT {} FROM {} {}").format(
        Identifier(_SCHEMA, name),
        SQL(", ").join(values),
        Identifier(_SCHEMA, f"staging_{name}"),
        table.on_conflict(key, columns),
    )
    with psycopg.connect(dsn) as conn:
        return statement.as_string(conn)


def _arrow(pa: Any, kind: str) -> Any:
    kinds = {"bigint": pa.int64(), "smallint": pa.int16(), "boolean": pa.bool_(), "date": pa.date32()}
    return pa.list_(pa.string()) if kind == "text[]" else kinds.get(kind, pa.string())


def _libpq(dsn: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    return " ".join(f"{name}={value}" for name, value in parts.items())


if __name__ == "__main__":
    table.run(load)
