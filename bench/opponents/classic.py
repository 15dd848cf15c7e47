"""The classic design: a process pool parses and returns dicts, the parent upserts them by executemany."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from bench.opponents import table
from bench.opponents.fields import Json, opened, read

_SCHEMA = "by_classic"
_WORKERS = 2
_PIECE = 4 << 20
_END = b"</PubmedArticle>"


def load(path: Path, dsn: str) -> int:
    """Load the PubMed file *path*; return the rows sent."""
    return _load(_pieces(path), _parse, dsn, "citation", table.CITATION_COLUMNS, table.adapted)


def load_studies(path: Path, dsn: str) -> int:
    """Load the array of studies *path*; return the rows sent. A study has a line of its own, as in the download."""

    def adapted(row: Json) -> Json:
        return row | {"study": Jsonb(row["study"])}

    with path.open("rb") as stream:
        return _load(table.batches(stream, 200), _parse_studies, dsn, "study", table.STUDY_COLUMNS, adapted)  # type: ignore[arg-type]


def _load(
    pieces: Iterable[Any],
    parse: Callable[[Any], list[Json]],
    dsn: str,
    name: str,
    columns: dict[str, str],
    adapted: Callable[[Json], Json],
) -> int:
    statement = table.upsert(_SCHEMA, name, columns)
    rows = 0
    with psycopg.connect(dsn) as conn, ProcessPoolExecutor(_WORKERS, get_context("spawn")) as pool:
        table.create(conn, _SCHEMA, name, columns)
        for parsed in _in_order(pool, parse, pieces):
            with conn.transaction(), conn.cursor() as cursor:
                cursor.executemany(statement, [adapted(row) for row in parsed])
            rows += len(parsed)
    return rows


def _in_order(
    pool: ProcessPoolExecutor, parse: Callable[[Any], list[Json]], pieces: Iterable[Any]
) -> Iterator[list[Json]]:
    """The results of the pieces, at most two a worker under way."""
    waiting: deque[Future[list[Json]]] = deque()
    for piece in pieces:
        waiting.append(pool.submit(parse, piece))
        if len(waiting) >= 2 * _WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _pieces(path: Path) -> Iterator[bytes]:
    """The file in pieces of whole records, without the outer element."""
    rest = b""
    with opened(path) as stream:
        while block := stream.read(_PIECE):
            head, end, rest = (rest + block).rpartition(_END)
            if end:
                yield (head + end).split(b"<PubmedArticleSet>", 1)[-1]
    yield rest.replace(b"</PubmedArticleSet>", b"")


def _parse(piece: bytes) -> list[Json]:
    return list(read(io.BytesIO(b"<PubmedArticleSet>" + piece + b"</PubmedArticleSet>")))


def _parse_studies(lines: list[bytes]) -> list[Json]:
    rows = []
    for line in lines:
        if len(line) > 2:
            study = json.loads(line.rstrip(b",\n"))
            protocol = study["protocolSection"]
            rows.append(
                {
                    "nct_id": protocol["identificationModule"]["nctId"],
                    "brief_title": protocol["identificationModule"].get("briefTitle"),
                    "overall_status": protocol["statusModule"].get("overallStatus"),
                    "study": study,
                }
            )
    return rows


if __name__ == "__main__":
    table.run(load)
