"""Every byte of an input has an owner, and every name is only a name: loads to their ends, and audits of them."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

import medmirror
from medmirror.ingest import rejects
from medmirror.settings import Settings
from medmirror.verify.audit import audit

ODD = os.fsdecode(b"caf\xe9.json")


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Settings on this test's database."""
    return replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)


def study(number: int) -> dict[str, Any]:
    naming = {"nctId": f"NCT{number:08}", "briefTitle": f"Study {number}"}
    return {"protocolSection": {"identificationModule": naming}, "hasResults": False}


def drugs(day: str, *ids: int) -> dict[str, Any]:
    meta = {"disclaimer": "x" * 1500, "last_updated": day}
    return {"meta": meta, "results": [{"product_id": f"{number}", "product_ndc": f"{number}"} for number in ids]}


def query(settings: Settings, text: str) -> list[Any]:
    with psycopg.connect(str(settings.dsn)) as connection:
        return [row[0] if len(row) == 1 else row for row in connection.execute(text)]  # type: ignore[arg-type]


def studies(settings: Settings) -> list[int]:
    return [int(nct_id[3:]) for nct_id in query(settings, "SELECT nct_id FROM clinicaltrials.study ORDER BY 1")]


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def one(number: int) -> bytes:
    return json.dumps(study(number)).encode()


def test_pages_that_were_appended_are_loaded_each_as_of_its_export(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    days = {"2026-01-31": (1, 2), "2026-02-28": (3,), "2026-03-31": (4, 5)}
    pages = [drugs(day, *ids) for day, ids in days.items()]
    ordinals = {number: date.fromisoformat(day).toordinal() for day, ids in days.items() for number in ids}
    texts = {
        "pretty": "\n".join(json.dumps(page, indent=2) for page in pages),
        "lines": "\n".join(map(json.dumps, pages)),
        "array": json.dumps(pages),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.json").write_text(text)
        result = medmirror.load("openfda", tmp_path / f"{name}.json", settings=settings, force=True)
        assert (result.read, result.rejected, result.exit_code) == (5, 0, 0), name
    facts = query(settings, "SELECT product_id, version & ((1 << 20) - 1) FROM openfda.ndc_fact")
    assert {int(key): day for key, day in facts} == ordinals
    assert audit(engine).findings == []


def test_what_stands_behind_the_records_is_a_reject_of_those_bytes(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    page = json.dumps({"studies": [study(1), study(2)], "nextPageToken": "a"}, indent=1)
    (tmp_path / "a.json").write_text(page + "\n<html>504 Gateway Time-out</html>\n" + page.replace("NCT", "NCT1"[:3]))
    (tmp_path / "b.json").write_text(page + "\0" * 700)
    result = medmirror.load("clinicaltrials", tmp_path, settings=settings)
    assert (result.rejected, result.exit_code) == (2, 3)
    (first, second), _ = rejects.find(engine)
    spans = [Path(row["path"]).read_bytes()[row["start_byte"] : row["end_byte"]] for row in (first, second)]
    assert sorted(span.strip() for span in spans) == [b"\0" * 700, b"<html>504 Gateway Time-out</html>"]
    assert audit(engine).findings == []
    again = rejects.retry(engine, settings)
    assert again.failed == 2
    assert audit(engine).findings == []


def test_a_second_document_that_is_cut_short_is_refused_after_the_first_is_loaded(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    whole, cut = json.dumps({"studies": [study(1)]}), json.dumps({"studies": [study(2), study(3)]}, indent=1)[:-90]
    (tmp_path / "a.json").write_text(whole + cut)
    (tmp_path / "b.json").write_text(json.dumps([study(4)]))
    result = medmirror.load("clinicaltrials", tmp_path, settings=settings)
    assert result.exit_code == 3
    assert [file.status for file in result.files] == ["refused", "done"]
    assert {1, 2, 4} >= set(studies(settings)) >= {1, 4}
    assert audit(engine).findings == []


def test_an_archive_is_read_as_the_folder_that_was_packed(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    inner = zipped(("deep/8.json", one(8)), ("notes.txt", b"x"), ("deep/.DS_Store", b"\0\1"))
    members = {
        "README": b"no ending, no data",
        "a/1.json": one(1),
        "a/README.txt": b"read me",
        "a/.DS_Store": b"\0\0\0\1Bud1",
        "a/.hidden/2.json": one(2),
        "__MACOSX/a/._1.json": b"\0\5\26\7",
        "__MACOSX/3.json": one(3),
        "a/1.json.md5": b"d41d8cd98f00b204e9800998ecf8427e",
        "Thumbs.db": b"\xd0\xcf\x11\xe0",
        "b/5.json.gz": gzip.compress(one(5)),
        "b/6.json.zip": inner,
        "c/7.json": b'{"studies": []}\n' + one(7),
    }
    folder = tmp_path / "folder"
    for name, data in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (tmp_path / "a.zip").write_bytes(zipped(*members.items()))
    for path in (tmp_path / "a.zip", folder):
        result = medmirror.load("clinicaltrials", path, settings=settings, force=True)
        assert studies(settings) == [1, 5, 7, 8]
        assert result.exit_code == 3  # README is no study; in the folder the file is refused, here it is a reject
        assert sorted(Path(file.path).name for file in result.files if file.status == "ignored") == [
            "README.txt",
            "notes.txt",
        ]
    assert audit(engine).findings == []
    result = medmirror.load("clinicaltrials", _without(tmp_path, members, "README"), settings=settings)
    assert (result.read, result.rejected, result.exit_code) == (4, 0, 0)
    assert audit(engine).findings == []


def _without(folder: Path, members: dict[str, bytes], name: str) -> Path:
    (folder / "b.zip").write_bytes(zipped(*(pair for pair in members.items() if pair[0] != name)))
    return folder / "b.zip"


def test_a_file_whose_name_is_no_text_is_loaded_as_those_beside_it(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"dossi\xe9")
    folder.mkdir()
    (folder / ODD).write_bytes(one(1))
    (folder / "good.json").write_bytes(one(2))
    (folder / os.fsdecode(b"bad\xff.json")).write_bytes(b"{")
    (folder / os.fsdecode(b"note\xff.txt")).write_bytes(b"x")
    words = [
        sys.executable,
        "-m",
        "medmirror",
        "--dsn",
        str(settings.dsn),
        "--json",
        "load",
        "clinicaltrials",
        str(folder),
    ]
    run = subprocess.run(words, capture_output=True, check=False)
    answer = json.loads(run.stdout)
    assert run.returncode == 3, run.stderr
    statuses = {Path(file["path"]).name: file["status"] for file in answer["files"]}
    assert statuses == {
        "caf\\xe9.json": "done",
        "good.json": "done",
        "bad\\xff.json": "refused",
        "note\\xff.txt": "ignored",
    }
    assert b"Traceback" not in run.stderr
    assert studies(settings) == [1, 2]
    run = subprocess.run([word for word in words if word != "--json"], capture_output=True, check=False)
    assert run.returncode == 3
    assert b"bad\\xff.json" in run.stdout + run.stderr
    assert any(path.endswith("dossi\\xe9/caf\\xe9.json") for path in query(settings, "SELECT path FROM medmirror.file"))
    named = medmirror.load("clinicaltrials", folder / ODD, settings=settings)
    assert [file.status for file in named.files] == ["skipped"]
    assert medmirror.load("clinicaltrials", folder / os.fsdecode(b"gone\xff"), settings=settings).exit_code == 1
    assert audit(engine).findings == []


def test_a_reject_of_such_a_file_is_found_again(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    record = study(1)
    record["protocolSection"]["identificationModule"]["nctId"] = "x"
    record["pad"] = "y" * (1 << 20)
    (tmp_path / ODD).write_bytes(json.dumps(record).encode())
    assert medmirror.load("clinicaltrials", tmp_path, settings=settings).rejected == 1
    (retried,) = rejects.retry(engine, settings).rejects
    assert (retried.outcome, retried.error) == ("failed", "InvalidRecord")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"\x28\xb5\x2f\xfd\0", "zstd"),
        (b"a.xml" + b"\0" * 252 + b"ustar\0", "tar archive"),
        (gzip.compress(b"a.xml" + b"\0" * 252 + b"ustar\0", mtime=0), "tar archive"),
        ('{"studies": []}'.encode("utf-16"), "UTF-16"),
        ('{"studies": []}'.encode("utf-16-le"), "UTF-16"),
    ],
)
@pytest.mark.parametrize("source", ["clinicaltrials", None])
def test_what_is_packed_in_another_way_is_called_by_its_name(
    source: str | None, start: bytes, words: str, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(start)
    result = medmirror.load(source, tmp_path / "a", settings=settings)
    (file,) = result.files
    assert (file.status, result.exit_code) == ("refused", 1)
    assert words in str(file.reason)
