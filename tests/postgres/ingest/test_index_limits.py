"""An index never decides what can be stored: texts of any length load, and what an index holds is still found."""

from __future__ import annotations

import io
import json
import random
import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

import medmirror
from medmirror import sources
from medmirror.readers.json.layout import CUT, MAX_INDEXED
from medmirror.settings import Settings
from medmirror.sources import clinicaltrials, openfda

LAYOUTS = {
    **{("openfda", layout.name): layout for layout in openfda._LAYOUTS},
    ("clinicaltrials", "study"): clinicaltrials.LAYOUT,
}


def long(number: int, size: int = 9000) -> str:
    """A text that does not pack."""
    return "".join(random.Random(number).choices(string.ascii_letters + string.digits, k=size))


def record(columns: Any, number: int) -> dict[str, Any]:
    """A record whose every text of *columns* is long."""
    document: dict[str, Any] = {}
    for place, field in enumerate(columns):
        if field.how not in ("text", "loose text", "every text", "texts", "loose texts") or field.where:
            continue
        way, name = field.steps
        here = document
        for step, many in way:
            below = here.setdefault(step, [{}] if many else {})
            here = below[0] if many else below
        value = long(1000 * number + place)
        here[name] = [value, "short"] if field.how in ("texts", "loose texts") else value
    return document


@pytest.mark.parametrize("library", [True, False], ids=["C", "Python"])
def test_records_of_long_texts_are_stored_whole(
    library: bool, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)
    wanted: dict[tuple[str, str], Any] = {}
    for number, (place, layout) in enumerate(LAYOUTS.items()):
        document = record(layout.fields, number)
        for field in layout.identity:
            if field.path == "protocolSection.identificationModule.nctId":
                document["protocolSection"]["identificationModule"]["nctId"] = "NCT00000001"
            elif field.name == "key":
                document[field.path] = "key"
            elif field.path == "package_ndc":
                document["package_ndc"] = "1"
        wanted[place] = document
        name = "studies" if place[0] == "clinicaltrials" else "results"
        (tmp_path / f"{place[1]}.json").write_text(json.dumps({name: [document]}))
    monkeypatch.setenv("MEDMIRROR_NATIVE", "1" if library else "0")
    result = medmirror.load(None, tmp_path, settings=settings)
    assert (result.read, result.rejected, result.exit_code) == (len(LAYOUTS), 0, 0)
    with psycopg.connect(dsn) as connection:
        for (source, feed), document in wanted.items():
            layout = LAYOUTS[source, feed]
            jsonb = sources.get(source).feed(feed).columns[0].name
            row = connection.execute(SQL("SELECT to_jsonb(t) FROM {} AS t").format(Identifier(source, feed))).fetchone()
            assert row is not None
            assert row[0][jsonb] == document
            for field in layout.fields:
                values = row[0][field.name]
                if isinstance(values, list):
                    sizes = {len(value) for value in values}
                    assert sizes <= ({CUT, 5} if field.name in layout.indexed else {9000, 5}), field.name
                elif isinstance(values, str) and field.column.kind == "text":
                    assert len(values) in (1, 9000), field.name


def test_every_index_of_a_table_holds_any_text(dsn: str) -> None:
    """Hash indexes and short expressions do; of arrays, those that the reader cuts. Keys are bounded by the reader."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT x.schemaname, x.tablename, x.indexname, x.indexdef, i.indisprimary FROM pg_indexes AS x"
            " JOIN pg_index AS i ON i.indexrelid = format('%I.%I', x.schemaname, x.indexname)::regclass"
            " WHERE x.schemaname IN ('openfda', 'clinicaltrials') AND x.tablename NOT LIKE '%\\_fact'"
        ).fetchall()
        kinds = dict(
            connection.execute(
                "SELECT format('%s.%s.%s', table_schema, table_name, column_name), data_type"
                " FROM information_schema.columns WHERE table_schema IN ('openfda', 'clinicaltrials')"
            ).fetchall()
        )
    assert rows
    for schema, table, name, definition, is_primary in rows:
        if is_primary or " USING hash " in definition or (schema, table) not in LAYOUTS:  # numbers of studies alone
            continue
        for column in re.findall(r"\w+", definition.partition(" USING ")[2].partition("(")[2].partition(" WHERE")[0]):
            kind = kinds.get(f"{schema}.{table}.{column}", "")
            if kind == "text" and column not in {key.name for key in sources.get(schema).feed(table).key}:
                assert '"left"(' in definition, name
            elif kind == "ARRAY":
                assert column in LAYOUTS[schema, table].indexed, name


def test_what_is_cut_stands_once_and_short_texts_stay() -> None:
    values = ["a", long(1), long(1) + "b", "é" * 999, "é" * 1001]
    (item,) = openfda.items(
        json.dumps({"set_id": "1", "openfda": {"brand_name": values}}, ensure_ascii=False).encode(),
        0,
        {"layout": "bare"},
    )
    data = json.dumps({"set_id": "1", "openfda": {"brand_name": values}}, ensure_ascii=False).encode()
    stored = openfda.record(openfda.SOURCE.feed("label"), data, item)["brand_name"]  # type: ignore[arg-type]
    assert stored == ["a", long(1)[:CUT], "é" * 999, "é" * CUT]
    assert all(len(value.encode()) <= MAX_INDEXED for value in stored)


def test_a_key_that_is_no_key_is_a_reject_with_a_reason() -> None:
    for size, kind in ((CUT, "Item"), (CUT + 1, "Flaw")):
        (item,) = openfda.items(json.dumps({"set_id": "x" * size}).encode(), 0, {"layout": "bare"})
        assert type(item).__name__ == kind


def test_a_device_recall_is_not_taken_for_a_drug_recall() -> None:

    data = json.dumps(
        {"results": [{"recalling_firm": "a", "reason_for_recall": "b", "product_res_number": "Z-1"}]}
    ).encode()
    with pytest.raises(medmirror.errors.LayoutChanged, match="of a feed known here"):
        openfda.context("a.json", data, lambda: io.BytesIO(data), {})


def test_a_patient_of_a_long_name_and_a_resource_of_a_long_address_are_stored(dsn: str, tmp_path: Path) -> None:
    settings = replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)
    day = "2024-01-01T00:00:00Z"
    guest = {"id": "1", "created_at": day, "updated_at": day, "first_name": long(1), "last_name": long(2)}
    (tmp_path / "a.json").write_text(json.dumps({"patients": [guest], "links": {}, "total_entries": 1}))
    entry = {"fullUrl": f"http://a/{long(3)}", "resource": {"resourceType": "Patient", "id": "1"}}
    (tmp_path / "b.json").write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [entry]}))
    for name, source in (("a", "cliniko"), ("b", "fhir")):
        result = medmirror.load(source, tmp_path / f"{name}.json", organization="org_1", settings=settings)
        assert (result.inserted, result.rejected, result.exit_code) == (1, 0, 0)
