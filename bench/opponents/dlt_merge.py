"""dlt: the same dicts, disposition merge (strategy upsert), into Postgres by its CSV COPY. Lists stay JSON, no child
tables.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from bench.opponents import table
from bench.opponents.fields import KEY, KINDS, citations

_SCHEMA = "by_dlt"
_TYPES = {"int8": "bigint", "int2": "bigint", "bool": "bool", "date": "date", "text": "text"}


def load(path: Path, dsn: str) -> int:
    """Load the PubMed file *path*; return its rows. dlt has no arrays: text[] columns become JSON."""
    columns = {
        name: {"data_type": _TYPES.get(kind, "json"), "nullable": name not in KEY} for name, kind in KINDS.items()
    }
    return _run(citations(path), "citation", KEY, columns, dsn)


def load_studies(path: Path, dsn: str) -> int:
    """Load the array of studies *path*; return its rows."""
    columns = {name: {"data_type": "json" if kind == "jsonb" else kind} for name, kind in table.STUDY_COLUMNS.items()}
    return _run(table.studies(path), "study", ("nct_id",), columns, dsn)


def _run(rows: Iterable[Any], name: str, key: tuple[str, ...], columns: dict[str, Any], dsn: str) -> int:
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "ERROR")
    dlt = import_module("dlt")

    count = 0

    @dlt.resource(  # type: ignore[untyped-decorator]
        name=name,
        write_disposition={"disposition": "merge", "strategy": "upsert"},
        primary_key=key,
        columns=columns,
        max_table_nesting=0,
        file_format="csv",
    )
    def resource() -> Any:
        nonlocal count
        for batch in table.batches(rows, 500):
            count += len(batch)
            yield batch

    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            pipeline_name="opponent",
            pipelines_dir=folder,
            destination=dlt.destinations.postgres(_credentials(dsn)),
            dataset_name=_SCHEMA,
        )
        pipeline.run(resource())
    return count


def _credentials(dsn: str) -> dict[str, Any]:
    """What dlt insists on, a password even where the server asks for none."""
    parts = conninfo_to_dict(dsn)
    host = parts.get("host") or "localhost"
    return {
        "drivername": "postgresql",
        "host": "localhost",
        "query": {"host": host},  # a socket's folder is lost otherwise
        "port": int(parts.get("port") or 5432),
        "username": parts.get("user"),
        "password": parts.get("password") or "none",
        "database": parts.get("dbname"),
    }


if __name__ == "__main__":
    table.run(load)
