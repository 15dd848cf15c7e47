"""Bad input: one reject for each bad record, its neighbours load; a clear error for each bad file, the rest loads.

MARK stands in every bad record below. It may be seen in the raw bytes of the rejects, and nowhere else.
"""

from __future__ import annotations

import http.server
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from proxy import Proxy

import medmirror
import medmirror.errors
import mirrors
from medmirror.errors import UsageError
from medmirror.ingest.rejects import retry
from medmirror.ingest.run import LoadResult
from medmirror.settings import Settings
from medmirror_testing import samples
from medmirror_testing.samples.hostile import Hostile

MARK = "Qzxvmark"


def article(pmid: object, title: str = "A title", before: str = "") -> str:
    """A small citation."""
    return (
        f'<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM">{before}<PMID Version="1">{pmid}</PMID>'
        f'<Article PubModel="Print"><Journal><Title>J</Title></Journal><ArticleTitle>{title}</ArticleTitle></Article>'
        "</MedlineCitation></PubmedArticle>"
    )


def citations(*middle: bytes, first: int = 1, doctype: str = "") -> bytes:
    """A file of *middle* between two sound citations."""
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n{doctype}<PubmedArticleSet>\n{article(first)}'.encode()
    return head + b"".join(middle) + f"{article(first + 1)}</PubmedArticleSet>\n".encode()


def trial(nct_id: object, **more: object) -> str:
    """A small study."""
    return json.dumps({"protocolSection": {"identificationModule": {"nctId": nct_id, "briefTitle": "A title", **more}}})


def studies(middle: bytes, first: int) -> bytes:
    """A file of *middle* between two sound studies."""
    sound = [trial(f"NCT{first + n:08d}").encode() for n in range(2)]
    return b"[\n" + sound[0] + b",\n" + middle + b",\n" + sound[1] + b"\n]\n"


def labels(middle: bytes, first: int) -> bytes:
    """A file of *middle* between two sound drug labels."""
    sound = [b'{"set_id":"s%d","effective_time":"20250101","id":"i","version":"1"}' % (first + n) for n in range(2)]
    return b'{"meta":{"last_updated":"2026-01-01"},"results":[' + b",".join((sound[0], middle, sound[1])) + b"]}"


def label(set_id: str) -> str:
    """A label whose set_id is the JSON text *set_id*."""
    return f'{{"set_id":{set_id},"effective_time":"20250101","id":"{MARK}","version":"1"}}'


class Bad(NamedTuple):
    """A record that cannot be loaded, and the error that it earns."""

    name: str
    source: str
    given: str | bytes
    error: str
    kept: bool = True  # False: given up while the file was split, so it is found again by file and span only

    @property
    def raw(self) -> bytes:
        """Its bytes."""
        return self.given if isinstance(self.given, bytes) else self.given.encode()


TITLE = f"{MARK} title"
LONG = "".join(f"{MARK}{n:x}" for n in range(1_000, 3_000))  # too long for an index, also when compressed
CASES = (
    Bad("not well-formed XML", "pubmed", article(9, TITLE).replace("</ArticleTitle>", "</Title>"), "ParseError"),
    Bad("an element is not closed", "pubmed", article(9, TITLE).replace("</Article>", ""), "ParseError"),
    Bad("no PMID", "pubmed", article(9, TITLE).replace("PMID", "PMIDD"), "InvalidRecord"),
    Bad("a PMID that is no number", "pubmed", article(MARK), "InvalidRecord"),
    Bad("a PMID beyond any column", "pubmed", article(10**24, TITLE), "InvalidRecord"),
    Bad("a version beyond its column", "pubmed", article(9, TITLE).replace('"1"', '"70000"'), "InvalidRecord"),
    Bad("invalid UTF-8", "pubmed", article(9, TITLE).encode().replace(b" title", b"\xff\xfe"), "ParseError"),
    Bad("NUL", "pubmed", article(9, f"{MARK}\0"), "ParseError"),
    Bad("NUL as a reference", "pubmed", article(9, f"{MARK}&#0;"), "ParseError"),
    Bad("half a surrogate pair as a reference", "pubmed", article(9, f"{MARK}&#xD800;"), "ParseError"),
    Bad("an entity that is not declared", "pubmed", article(9, f"&{MARK};"), "ParseError"),
    Bad("not well-formed JSON", "clinicaltrials", f'{{"protocolSection":{{"x":"{MARK}"oops}}}}', "ParseError"),
    Bad("no object", "clinicaltrials", f'"{MARK}"', "InvalidRecord", kept=False),
    Bad("a number as record", "clinicaltrials", "4711", "InvalidRecord", kept=False),
    Bad("an object where text belongs", "clinicaltrials", trial({"x": MARK}), "InvalidRecord"),
    Bad("text where an object belongs", "clinicaltrials", f'{{"protocolSection":"{MARK}"}}', "InvalidRecord"),
    Bad("no NCT number", "clinicaltrials", trial(None, acronym=MARK), "InvalidRecord"),
    Bad("another number", "clinicaltrials", trial(MARK), "InvalidRecord"),
    Bad("half a surrogate pair", "clinicaltrials", trial("NCT00000009", acronym=f"{MARK}\ud800"), "ParseError"),
    Bad("NUL escaped", "clinicaltrials", trial("NCT00000009", acronym=f"{MARK}\0"), "InvalidRecord"),
    Bad("invalid UTF-8 in JSON", "clinicaltrials", trial(MARK).encode().replace(b" title", b"\xc3\x28"), "ParseError"),
    Bad("one key twice", "clinicaltrials", trial("NCT00000009", a=MARK).replace('"a"', '"nctId"'), "InvalidRecord"),
    Bad("no set_id", "openfda", f'{{"effective_time":"20250101","product_id":null,"x":"{MARK}"}}', "InvalidRecord"),
    Bad("a set_id that is no text", "openfda", label("[1]"), "InvalidRecord"),
    Bad("a set_id with NUL", "openfda", label(f'"{MARK}\\u0000"'), "InvalidRecord"),
    Bad("a set_id that is half a surrogate pair", "openfda", label(f'"{MARK}\\ud800"'), "ParseError"),
    Bad("a set_id that is too long for a key", "openfda", label(f'"{LONG}"'), "InvalidRecord"),
    Bad("no record of a known kind", "openfda", f'{{"who":"{MARK}"}}', "InvalidRecord"),
)

MAKERS: dict[str, Callable[[bytes, int], bytes]] = {
    "pubmed": lambda raw, first: citations(raw, first=first),
    "clinicaltrials": studies,
    "openfda": labels,
}


class Loaded(NamedTuple):
    """What a load of many bad files came to."""

    dsn: str
    result: LoadResult
    said: str

    def counts(self, path: Path) -> tuple[object, ...]:
        """Records read from a file, rejected, and inserted or known."""
        query = (
            "SELECT coalesce(sum(read), 0), coalesce(sum(rejected), 0), coalesce(sum(inserted + unchanged), 0)"
            " FROM medmirror.chunk JOIN medmirror.file USING (file_id) WHERE path = %s"
        )
        return mirrors.one(self.dsn, query, str(path))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that any user may look into."""
    made = Path(tempfile.mkdtemp(prefix="medmirror-bad-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def bad_records(database: Callable[[], AbstractContextManager[str]], folder: Path) -> Iterator[Loaded]:
    """One load of a file for each of CASES, by the command, with all that it wrote to the screen."""
    paths = []
    for number, case in enumerate(CASES):
        paths.append(folder / f"case-{number}.{'xml' if case.source == 'pubmed' else 'json'}")
        paths[-1].write_bytes(MAKERS[case.source](case.raw, 1_000 + 10 * number))
    with database() as dsn:
        environment = {**os.environ, "MEDMIRROR_DSN": dsn, "MEDMIRROR_LOG_LEVEL": "DEBUG"}
        command = [sys.executable, "-m", "medmirror", "load", "--json", *map(str, paths)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 3, done.stderr
        said = json.loads(done.stdout)
        named = {name: said[name] for name in ("read", "inserted", "rejected", "status")}
        assert named == {
            "read": 3 * len(CASES),
            "inserted": 2 * len(CASES),
            "rejected": len(CASES),
            "status": "rejects",
        }
        yield Loaded(dsn, said, done.stdout + done.stderr)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_a_bad_record_is_one_reject_and_its_neighbours_load(number: int, bad_records: Loaded, folder: Path) -> None:
    case = CASES[number]
    path = folder / f"case-{number}.{'xml' if case.source == 'pubmed' else 'json'}"
    assert bad_records.counts(path) == (3, 1, 2)
    columns = "item, start_byte, end_byte, error, reason, raw, raw_complete, attempts, r.source, r.member, resolved_at"
    query = f"SELECT {columns} FROM medmirror.reject AS r JOIN medmirror.file USING (file_id) WHERE path = %s"  # noqa: S608
    item, start, end, error, reason, raw, complete, attempts, source, member, resolved = mirrors.one(
        bad_records.dsn, query, str(path)
    )
    assert (item, error, attempts, source, member, resolved) == (1, case.error, 1, case.source, "", None)
    data = path.read_bytes()
    assert isinstance(start, int)
    assert isinstance(end, int)
    assert data[start:end].strip() == case.raw
    assert (bytes(raw), complete) == (data[start:end] if case.kept else b"", case.kept)  # type: ignore[call-overload]
    assert str(reason).strip()
    assert MARK not in str(reason)
    assert "4711" not in str(reason)


def test_no_value_of_a_record_is_said(bad_records: Loaded) -> None:
    assert MARK not in bad_records.said
    text = "SELECT string_agg(CAST(t AS text), '') FROM (SELECT run, file FROM medmirror.run, medmirror.file) AS t"
    assert MARK not in str(mirrors.one(bad_records.dsn, text)[0])
    now = "first_failed_at <= last_failed_at AND first_failed_at > now() - interval '1 hour'"
    assert mirrors.one(bad_records.dsn, f"SELECT bool_and({now}) FROM medmirror.reject") == (True,)  # noqa: S608
    mirrors.books_are_right(bad_records.dsn)


@pytest.fixture(scope="module")
def hostile(
    database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loaded]:
    """One load of every file of samples.HOSTILE, and one sound file after them.

    Those that are cut off come last: they have whole copies of records that are broken elsewhere, and a broken copy
    that is not the newest is never looked at.
    """
    folder = tmp_path_factory.mktemp("hostile")
    made = samples.write_hostile(folder)
    kinds = sorted(samples.HOSTILE, key=lambda kind: kind.outcome == "partial")
    paths = [made[kind.name] for kind in kinds]
    paths.append(samples.write_studies(folder / "ctg-sound.json", 3, first=500, big=False).path)
    with database() as dsn:
        settings = replace(Settings.from_environment(environ={}), dsn=dsn, workers=1, chunk_bytes=50_000)
        yield Loaded(dsn, medmirror.load(None, paths, settings=settings), "")


@pytest.mark.parametrize("kind", samples.HOSTILE, ids=lambda kind: kind.name)
def test_a_bad_file_is_refused_by_name_and_the_rest_loads(kind: Hostile, hostile: Loaded) -> None:
    (file,) = [file for file in hostile.result.files if Path(file.path).name == kind.file]
    read, rejected, good = hostile.counts(Path(file.path))
    if kind.outcome == "rejects":
        assert (file.status, read, rejected) == ("done", kind.good + kind.bad, kind.bad)
        return
    assert file.status == "refused"
    assert file.error in ("TruncatedFile", "LayoutChanged", "UnsafeFile")
    assert file.reason
    assert rejected == 0
    assert good <= kind.good  # type: ignore[operator]


def test_bad_files_do_not_stop_the_run(hostile: Loaded) -> None:
    sound = hostile.result.files[-1]
    assert (sound.status, hostile.counts(Path(sound.path))) == ("done", (3, 0, 3))
    assert (hostile.result.status, hostile.result.exit_code) == ("rejects", 3)
    mirrors.books_are_right(hostile.dsn)


def test_only_bad_files_is_a_failure(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "pubmed26n0001.xml"
    path.write_bytes(b"<html><body>503 Service Unavailable</body></html>")
    result = medmirror.load("pubmed", path, settings=settings)
    assert (result.exit_code, result.files[0].status, result.files[0].path) == (1, "refused", str(path))


def test_a_file_of_another_source_is_refused(settings: Settings, tmp_path: Path) -> None:
    trials = samples.write_studies(tmp_path / "trials.json", 2, big=False).path
    article = samples.write_pubmed(tmp_path / "pubmed26n0001.xml.gz", 3).path
    result = medmirror.load("pubmed", [trials, article], settings=settings)
    assert [(file.status, file.error) for file in result.files] == [("refused", "LayoutChanged"), ("done", None)]
    assert (result.inserted, result.exit_code) == (3, 3)


def test_a_truncated_file_loads_whole_when_it_comes_again(settings: Settings, tmp_path: Path) -> None:
    made = samples.write_pubmed(tmp_path / "pubmed26n0001.xml.gz", 500)
    made.path.with_name(made.path.name + ".md5").unlink()
    whole = made.path.read_bytes()
    made.path.write_bytes(whole[: len(whole) * 3 // 4])
    first = medmirror.load("pubmed", made.path, settings=settings)
    assert (first.files[0].status, first.files[0].error) == ("refused", "TruncatedFile")
    assert 0 < first.inserted < made.records
    made.path.write_bytes(whole)
    again = medmirror.load("pubmed", made.path, settings=settings)
    assert again.files[0].status == "done"
    assert (again.unchanged, again.inserted) == (first.inserted, made.records - first.inserted)
    mirrors.books_are_right(str(settings.dsn))


def test_a_wrong_checksum_beside_the_file_refuses_it(settings: Settings, tmp_path: Path) -> None:
    path = samples.write_pubmed(tmp_path / "pubmed26n0001.xml.gz", 3).path
    path.with_name(path.name + ".md5").write_text(f"MD5({path.name})= {'0' * 32}\n")
    result = medmirror.load("pubmed", path, settings=settings)
    assert (result.files[0].status, result.files[0].error) == ("refused", "TruncatedFile")
    assert "MD5" in str(result.files[0].reason)


def test_a_bad_member_costs_the_archive_only_itself(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "studies.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(5):
            body = trial(f"NCT{number:08d}") if number != 2 else f'{{"protocolSection":{{"x":"{MARK}"'
            archive.writestr(f"NCT{number:08d}.json", body)
    result = medmirror.load("clinicaltrials", path, settings=settings)
    assert (result.inserted, result.rejected) == (4, 1)
    query = "SELECT member, error, reason FROM medmirror.reject"
    member, error, reason = mirrors.one(str(settings.dsn), query)
    assert member == "NCT00000002.json"
    assert error in ("ParseError", "TruncatedFile")
    assert MARK not in str(reason)
    mirrors.books_are_right(str(settings.dsn))


def test_two_members_of_one_name_are_refused(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "studies.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("study.json", trial("NCT00000001"))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("study.json", trial("NCT00000002"))
    result = medmirror.load("clinicaltrials", path, settings=settings)
    assert (result.files[0].status, result.files[0].error) == ("refused", "UnsafeFile")


def test_a_folder_without_a_file_of_the_source(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("nothing here")
    with pytest.raises(UsageError, match="holds no file to load"):
        medmirror.load("pubmed", tmp_path, settings=settings)
    samples.write_studies(tmp_path / "trials.json", 2, big=False)
    result = medmirror.load("pubmed", tmp_path, settings=settings)
    assert result.exit_code == 1
    assert {(Path(file.path).name, file.status) for file in result.files} == {
        ("README.txt", "ignored"),
        ("trials.json", "refused"),
    }


class _Remembering(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        """Note that somebody asked."""
        self.asked.append(self.path)
        self.send_error(404)


@pytest.fixture
def outside() -> Iterator[tuple[str, list[str]]]:
    """The address of a web server, and what it was asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Remembering,), {"asked": asked, "log_message": lambda *arguments: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_nothing_outside_of_the_file_is_ever_fetched(
    settings: Settings, tmp_path: Path, outside: tuple[str, list[str]]
) -> None:
    address, asked = outside
    secret = tmp_path / "secret.txt"
    secret.write_text(MARK)
    doctypes = {
        "dtd": f'<!DOCTYPE PubmedArticleSet SYSTEM "{address}/pubmed.dtd">',
        "entity": f'<!DOCTYPE PubmedArticleSet [<!ENTITY x SYSTEM "{address}/entity">]>',
        "parameter": f'<!DOCTYPE PubmedArticleSet [<!ENTITY % x SYSTEM "{address}/parameter"> %x;]>',
        "file": f'<!DOCTYPE PubmedArticleSet [<!ENTITY x SYSTEM "file://{secret}">]>',
        "none": "",
    }
    paths = []
    for number, (name, doctype) in enumerate(doctypes.items()):
        paths.append(tmp_path / f"{name}.xml")
        middle = b"" if name in ("dtd", "parameter") else article(50 + number, "&x;").encode()
        paths[-1].write_bytes(citations(middle, first=10 * number + 1, doctype=doctype))
    including = b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="%s/include"/>' % address.encode()
    paths.append(tmp_path / "include.xml")
    paths[-1].write_bytes(citations(article(99).encode().replace(b"<Article ", including + b"<Article "), first=90))
    result = medmirror.load("pubmed", paths, settings=settings)
    states = {Path(file.path).stem: (file.status, file.error) for file in result.files}
    refused = ("refused", "UnsafeFile")
    assert states == {
        "dtd": ("done", None),
        "entity": refused,
        "parameter": refused,
        "file": refused,
        "none": ("done", None),
        "include": ("done", None),
    }
    assert asked == []
    every = mirrors.one(str(settings.dsn), "SELECT string_agg(CAST(c AS text), '') FROM pubmed.citation AS c")[0]
    assert MARK not in str(every)


_AS_NOBODY = """
import os, sys
import medmirror
sound, *closed = sys.argv[1:]
print(medmirror.load("pubmed", sound).inserted)
if os.geteuid() == 0:  # root may read everything; what is needed from here on is imported
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
result = medmirror.load("pubmed", closed)
print(result.exit_code, *(f"{file.status} {file.error} {file.path} {file.reason}" for file in result.files), sep="\\n")
"""


def test_a_file_that_may_not_be_read_is_refused(dsn: str, folder: Path) -> None:
    inside = folder / "closed"
    inside.mkdir()
    sound, secret = (samples.write_pubmed(inside / f"pubmed26n000{n}.xml.gz", 3).path for n in (1, 2))
    secret.chmod(0)
    proxy = Proxy(dsn)  # the server's own socket is for its own users
    environment = {**os.environ, "MEDMIRROR_DSN": proxy.dsn}
    command = [sys.executable, "-c", _AS_NOBODY, str(sound), str(secret), str(inside / "missing.xml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    proxy.listener.close()
    inserted, code, *states = done.stdout.splitlines()
    assert (inserted, code, len(states)) == ("3", "1", 2), done.stderr
    assert states[0].startswith(f"refused UnreadableFile {secret} ")
    assert "Permission denied" in states[0]
    assert states[1].startswith(f"refused UnreadableFile {inside / 'missing.xml'} ")
    assert "No such file" in states[1]


def test_what_only_postgres_refuses_is_found_by_halving(
    settings: Settings, tmp_path: Path, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A constraint that no parser knows of; the neighbours in the same chunk load, nobody quotes the value."""
    caplog.set_level(logging.DEBUG)
    dsn = str(settings.dsn)
    bad = {3, 4, 17, 39}
    body = b"".join(article(n, f"{MARK} {n}" if n in bad else "A title").encode() for n in range(40))
    path = tmp_path / "refused.xml"
    path.write_bytes(citations(body, first=100))
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"ALTER TABLE pubmed.citation ADD CONSTRAINT no_mark CHECK (title NOT LIKE '%{MARK}%')"  # type: ignore[arg-type]
        )
    result = medmirror.load("pubmed", path, settings=replace(settings, chunk_bytes=1 << 22))
    assert (result.read, result.inserted, result.rejected) == (42, 38, 4)
    rejects = mirrors.every(dsn, "SELECT item, error, reason, raw FROM medmirror.reject ORDER BY item")
    assert [row[0] for row in rejects] == [n + 1 for n in sorted(bad)]
    for item, error, reason, raw in rejects:
        assert error == "RefusedByDatabase"
        assert "23514" in str(reason)
        assert "no_mark" in str(reason)
        assert MARK not in str(reason)
        assert bytes(raw) == article(int(str(item)) - 1, f"{MARK} {int(str(item)) - 1}").encode()  # type: ignore[call-overload]
    assert MARK not in caplog.text
    assert mirrors.one(dsn, "SELECT count(*) FROM pubmed.citation WHERE title IS NOT NULL") == (38,)
    mirrors.books_are_right(dsn)
    # Another try fails again and counts; after the cure the same bytes load.
    assert retry(engine, settings).failed == 4
    assert mirrors.every(dsn, "SELECT DISTINCT attempts, first_failed_at < last_failed_at FROM medmirror.reject") == [
        (2, True)
    ]
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE pubmed.citation DROP CONSTRAINT no_mark")
    cured = retry(engine, settings)
    assert (cured.tried, cured.loaded) == (4, 4)
    assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.reject WHERE resolved_at IS NULL") == (0,)
    assert mirrors.one(dsn, "SELECT count(*) FROM pubmed.citation WHERE title LIKE %s", f"{MARK}%") == (4,)
    mirrors.books_are_right(dsn)


def test_an_error_of_the_database_quotes_no_record(settings: Settings, tmp_path: Path) -> None:
    """Not one that the record is to blame for: a column that somebody dropped."""
    path = tmp_path / "some.xml"
    path.write_bytes(citations(article(9, TITLE).encode()))
    with psycopg.connect(str(settings.dsn)) as connection:
        connection.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'no % please', new.title USING ERRCODE = 'XX000'; END$$"
        )
        connection.execute("CREATE TRIGGER fail BEFORE INSERT ON pubmed.citation FOR EACH ROW EXECUTE FUNCTION fail()")
    with pytest.raises(medmirror.errors.StoreError) as caught:
        medmirror.load("pubmed", path, settings=settings)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert MARK not in str(chain)
        assert "please" not in str(chain)
        chain = chain.__cause__ or chain.__context__
    assert mirrors.one(str(settings.dsn), "SELECT status, error LIKE '%%please%%' FROM medmirror.run") == (
        "failed",
        False,
    )


@pytest.mark.parametrize("source", ["pubmed", "clinicaltrials"])
def test_a_huge_record_is_refused_in_flat_memory(source: str, settings: Settings, tmp_path: Path) -> None:
    peaks = []
    for megabytes in (12, 100):
        path = tmp_path / f"huge-{megabytes}.{'xml' if source == 'pubmed' else 'json'}.gz"
        (samples.write_huge_citation if source == "pubmed" else samples.write_huge_study)(path, megabytes)
        limits = {"MEDMIRROR_MAX_RECORD_BYTES": "8MiB", "MEDMIRROR_CHUNK_BYTES": "1MiB", "MEDMIRROR_WORKERS": "1"}
        environment = {**os.environ, **limits, "MEDMIRROR_DSN": str(settings.dsn)}
        command = [sys.executable, "-m", "medmirror", "load", "--json", source, str(path), "--force"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 3, done.stderr
        said = json.loads(done.stdout)
        assert (said["read"], said["rejected"]) == (3, 1)
        peaks.append(said["peak_rss_mb"])
    query = "SELECT item, error, end_byte - start_byte > 11000000, raw_complete, attempts FROM medmirror.reject"
    assert mirrors.every(str(settings.dsn), query) == [(1, "RecordTooLarge", True, False, 1)] * 2
    assert peaks[1] < peaks[0] + 24
