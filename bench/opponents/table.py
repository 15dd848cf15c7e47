"""The keyed table that every opponent loads, and its upsert."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg.sql import SQL, Composed, Identifier
from psycopg.types.json import Jsonb, set_json_dumps

from bench.opponents.fields import COLUMNS, KEY, KINDS, Json

_TYPES = {"int8": "bigint", "int2": "smallint", "bool": "boolean", "date": "date", "text[]": "text[]", "jsonb": "jsonb"}
STUDY_COLUMNS = {"nct_id": "text", "brief_title": "text", "overall_status": "text", "study": "jsonb"}
CITATION_COLUMNS = {name: _TYPES.get(KINDS[name], "text") for name in COLUMNS}
_JSONB = tuple(name for name in COLUMNS if KINDS[name] == "jsonb")

set_json_dumps(orjson.dumps)


def create(
    conn: psycopg.Connection[Any], schema: str, table: str = "citation", columns: dict[str, str] | None = None
) -> None:
    """Make *schema* and the table in it, if they are not there; no index but the key's."""
    columns = columns or CITATION_COLUMNS
    key = KEY if table == "citation" else ("nct_id",)
    lines = [SQL("{} {}").format(Identifier(name), SQL(kind)) for name, kind in columns.items()]
    lines.append(SQL("PRIMARY KEY ({})").format(_names(key)))
    conn.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
    conn.execute(SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(Identifier(schema, table), SQL(", ").join(lines)))
    conn.commit()


def upsert(schema: str, table: str = "citation", columns: Iterable[str] = COLUMNS) -> Composed:
    """INSERT .. ON CONFLICT DO UPDATE with a named parameter for each column."""
    columns = tuple(columns)
    key = KEY if table == "citation" else ("nct_id",)
    values = SQL(", ").join(SQL("%({})s").format(SQL(name)) for name in columns)
    return SQL("INSERT INTO {} ({}) VALUES ({}) {}").format(
        Identifier(schema, table), _names(columns), values, on_conflict(key, columns)
    )


def on_conflict(key: Iterable[str], columns: Iterable[str]) -> Composed:
    """The clause that makes an INSERT an upsert of every column."""
    key = tuple(key)
    setting = [SQL("{0} = excluded.{0}").format(Identifier(name)) for name in columns if name not in key]
    return SQL("ON CONFLICT ({}) DO UPDATE SET {}").format(_names(key), SQL(", ").join(setting))


def adapted(row: Json) -> Json:
    """*row* as psycopg wants it: values for jsonb columns wrapped. Changes *row*."""
    for name in _JSONB:
        if row[name] is not None:
            row[name] = Jsonb(row[name])
    return row


def studies(path: Path) -> Iterator[Json]:
    """The studies of a ClinicalTrials.gov array, streamed by ijson, with the columns of ``STUDY_COLUMNS``."""
    import ijson

    with path.open("rb") as stream:
        for study in ijson.items(stream, "item", use_float=True):
            protocol = study["protocolSection"]
            yield {
                "nct_id": protocol["identificationModule"]["nctId"],
                "brief_title": protocol["identificationModule"].get("briefTitle"),
                "overall_status": protocol["statusModule"].get("overallStatus"),
                "study": study,
            }


def batches(rows: Iterable[Json], size: int) -> Iterator[list[Json]]:
    """*rows* in lists of *size*."""
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch


def run(load: Callable[[Path, str], int]) -> None:
    """``python -m bench.opponents.NAME FILE DSN``"""
    print(load(Path(sys.argv[1]), sys.argv[2]), "rows")


def _names(names: Iterable[str]) -> Composed:
    return SQL(", ").join(map(Identifier, names))
