"""The command line without a database: options, usage errors, exit codes, what is printed where."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy.exc import DBAPIError

from medmirror.cli import STOPPED, cli, logs, output, picture
from medmirror.cli.load import told
from medmirror.cli.progress import decoded_size
from medmirror.errors import StoreUnavailable, UsageError
from medmirror.ingest import run as api
from medmirror.ingest.benchmark import Benchmark, Measured
from medmirror.ingest.run import FileResult, LoadResult

SECRET = "S3cretOfMrSmith"


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args))


def loaded(**changes: Any) -> LoadResult:
    counts = dict.fromkeys(("read", "inserted", "updated", "unchanged", "duplicate", "tombstoned", "rejected"), 0)
    cost = dict.fromkeys(("deadlocks", "lock_waits", "retries", "worker_deaths", "filtered", "bytes"), 0)
    facts: dict[str, Any] = {
        "run_id": 7, "status": "done", "seconds": 1.0, "records_per_second": 3.0, "cpu_seconds": {}, "peak_rss_mb": 1.0,
        "workers": 2, "files": [FileResult("a.json", "done", "clinicaltrials")],
    }  # fmt: skip
    return LoadResult(**{**counts, **cost, **facts, **changes})


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """``answers["load"]``: what loading gives, or raises; ``answers["given"]``: what it was called with."""
    held: dict[str, Any] = {"load": loaded(read=3, inserted=3)}

    def load(source: str | None, paths: Any, **given: Any) -> LoadResult:
        held["given"] = {"source": source, "paths": paths, **given}
        if isinstance(held["load"], BaseException):
            raise held["load"]
        result: LoadResult = held["load"]
        return result

    monkeypatch.setattr(api, "load", load)
    monkeypatch.setenv("MEDMIRROR_LOG_LEVEL", "WARNING")  # else each loaded file is looked up for its log line
    return held


WRONG = [
    ("load",),
    ("load", "pubmed"),
    ("load", "pubmedd", "a.xml"),
    ("load", "a.xml", "--workers", "two"),
    ("load", "a.xml", "--chunk-bytes", "7"),
    ("load", "a.xml", "--dsn", "db.example.org"),
    ("load", "a.xml", "--log-level", "LOUD"),
    ("frobnicate",),
    ("status", "--no-such-option"),
    ("search",),
    ("search", "x", "--source", "nowhere"),
    ("rejects", "show", "first"),
    ("rejects", "retry", "1", "--source", "pubmed"),
    ("bench", "a.xml", "--workers", "1,zero"),
    ("bench", "a.xml", "--svg", "/no/such/folder/o.svg"),
    ("db", "start", "--dsn", "postgresql://u@h/d"),
]


@pytest.mark.parametrize("args", WRONG, ids=" ".join)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("medmirror: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("args", WRONG, ids=" ".join)
def test_wrong_usage_is_a_document_with_json(args: tuple[str, ...]) -> None:
    result = run(*args, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 2
    assert (document["error"], set(document)) == ("UsageError", {"error", "message", "context"})


def test_a_wrong_dsn_does_not_show_its_password() -> None:
    result = run("load", "a.xml", "--dsn", f"host:u:{SECRET}@h/d", "--json")
    assert SECRET not in result.output


def test_a_password_on_the_command_line_is_warned_of() -> None:
    for dsn, warned in (
        (f"postgresql://u:{SECRET}@127.0.0.1:1/x", True),
        ("postgresql://u@127.0.0.1:1/x", False),
        ("host=127.0.0.1 port=1", False),
    ):
        said = run("status", "--dsn", dsn).stderr
        assert ("MEDMIRROR_DSN" in said) == warned
        assert SECRET not in said


def test_help_imports_nothing_slow() -> None:
    slow = "sqlalchemy psycopg rich lxml tqdm dill distributed numpy"
    code = (
        "import sys\nfrom medmirror.cli import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in '{slow}'.split() if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "load" in done.stdout


@pytest.mark.parametrize(
    "args", [("--json", "load", "a.json"), ("load", "--json", "a.json"), ("load", "a.json", "--json")]
)
def test_common_options_stand_before_or_after_the_command(args: tuple[str, ...], answers: dict[str, Any]) -> None:
    result = run(*args)
    assert (result.exit_code, json.loads(result.stdout)["inserted"]) == (0, 3)


def test_common_options_stand_before_or_after_a_command_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDMIRROR_DSN", raising=False)
    for args in (("--dsn", "postgresql://h/d", "db", "url"), ("db", "--dsn", "postgresql://h/d", "url"),
                 ("db", "url", "--dsn", "postgresql://h/d")):  # fmt: skip
        assert run(*args).stdout == "postgresql://h/d\n"


def test_one_command_line_does_not_remember_the_options_of_the_one_before(answers: dict[str, Any]) -> None:
    run("load", "a.json", "--json")
    assert not run("load", "a.json").stdout.startswith("{")


def test_the_document_of_a_load_has_every_key_that_scripts_rely_on(answers: dict[str, Any]) -> None:
    document = json.loads(run("load", "a.json", "--json").stdout)
    assert set(document) >= {
        "read", "inserted", "updated", "unchanged", "duplicate", "tombstoned", "rejected", "bytes", "seconds",
        "records_per_second", "peak_rss_mb", "workers", "deadlocks", "lock_waits", "retries",
    }  # fmt: skip


def test_options_of_load_reach_the_load(answers: dict[str, Any]) -> None:
    run(
        "load",
        "pubmed",
        "a.xml",
        "b.xml",
        "--force",
        "--workers",
        "3",
        "--chunk-bytes",
        "2MiB",
        "--dsn",
        "postgresql://h/d",
    )
    given = answers["given"]
    assert (given["source"], given["paths"], given["force"]) == ("pubmed", [Path("a.xml"), Path("b.xml")], True)
    settings = given["settings"]
    assert (settings.workers, settings.chunk_bytes, settings.dsn) == (3, 2 << 20, "postgresql://h/d")


REFUSED = FileResult("b.xml", "refused", "", "LayoutChanged", "This is HTML. (file=b.xml)")


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (loaded(read=1, inserted=1), 0),
        (loaded(read=2, inserted=1, rejected=1), 3),
        (loaded(read=1, inserted=1, files=[REFUSED, FileResult("a.xml", "done", "pubmed")]), 3),
        (loaded(files=[REFUSED]), 1),
        (StoreUnavailable(), 1),
        (UsageError("No."), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_code_of_a_load(result: Any, code: int, answers: dict[str, Any]) -> None:
    answers["load"] = result
    assert run("load", "a.xml").exit_code == code
    assert run("load", "a.xml", "--json").exit_code == code


def test_a_load_says_what_was_refused_and_how_to_see_its_rejects(answers: dict[str, Any]) -> None:
    files = [REFUSED, FileResult("a.xml", "done", "pubmed")]
    answers["load"] = loaded(read=2, inserted=1, rejected=1, files=files)
    said = run("load", "a.xml").stdout
    assert "1 file loaded, 1 file refused" in said
    assert "refused: b.xml: This is HTML.\n" in said
    assert "medmirror rejects list --run 7" in said


def test_ctrl_c_says_how_to_go_on(answers: dict[str, Any]) -> None:
    answers["load"] = KeyboardInterrupt()
    result = run("load", "a.xml", "--json")
    assert STOPPED in result.stderr
    assert json.loads(result.stdout)["message"] == STOPPED


def test_quiet_prints_nothing_when_all_is_well(answers: dict[str, Any]) -> None:
    assert run("load", "a.xml", "-q").output == ""
    assert json.loads(run("load", "a.xml", "-q", "--json").stdout)["read"] == 3


def test_an_error_of_the_database_never_quotes_a_row(answers: dict[str, Any]) -> None:
    cause = psycopg.errors.UniqueViolation(f"Key (name)=({SECRET}) already exists.")
    answers["load"] = DBAPIError("INSERT", {"name": SECRET}, cause)
    result = run("load", "a.xml", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"] == "StoreError"
    assert SECRET not in result.output


def test_the_first_word_is_a_source_unless_it_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(("pubmed", "a.xml")) == ("pubmed", [Path("a.xml")])
    assert told(("a.xml",)) == (None, [Path("a.xml")])
    Path("pubmed").mkdir()
    assert told(("pubmed", "pubmed/a.xml")) == ("pubmed", [Path("pubmed/a.xml")])
    assert told(("pubmed",)) == (None, [Path("pubmed")])
    Path("openfda").touch()
    assert told(("openfda", "b.json")) == (None, [Path("openfda"), Path("b.json")])


def test_json_log_lines_are_objects_with_facts() -> None:
    record = logging.LogRecord("medmirror.x", logging.INFO, "x.py", 1, "loaded: %s", ("a",), None)
    record.facts = {"read": 3}
    line = json.loads(logs.JsonLines().format(record))
    assert (line["level"], line["message"], line["read"]) == ("INFO", "loaded: a", 3)


def test_a_log_line_names_an_exception_but_does_not_quote_it() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        record = logging.LogRecord("medmirror.x", logging.ERROR, "x.py", 1, "no", (), sys.exc_info())
    assert "ValueError" in logs.JsonLines().format(record)
    assert SECRET not in logs.JsonLines().format(record)


def test_words_in_tables() -> None:
    assert [output.word(value) for value in (None, True, 1234567, 0.25, 12345.6, "a")] == [
        "", "yes", "1,234,567", "0.2", "12,346", "a",
    ]  # fmt: skip


def test_text_of_a_record_cannot_command_the_terminal() -> None:
    assert output.safe("a\x1b[31mb\nc\td\x9b") == "a�[31mb\nc\td�"


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/a/very/long/path" * 20
    output.show(output.Answer(None, lambda: [output.table(["file"], [(path,)])]), as_json=False)
    assert path in capsys.readouterr().out


def test_decoded_size_is_told_without_unpacking(tmp_path: Path) -> None:
    plain, packed, archive = tmp_path / "a.xml", tmp_path / "a.xml.gz", tmp_path / "a.zip"
    plain.write_bytes(b"x" * 5000)
    packed.write_bytes(gzip.compress(b"x" * 5000))
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a", b"x" * 3000)
        made.writestr("b", b"x" * 2000)
    assert [decoded_size(path) for path in (plain, packed, archive, tmp_path / "none")] == [5000, 5000, 5000, 0]


def _benchmark(counts: tuple[int, ...], stages: dict[str, float]) -> Benchmark:
    loads = [
        Measured(count, load, 10, 0, 1.0, 10.0 * count, 1.0, stages, 0.5, float(count), 50.0, 1.0, 0, 0, 0, 0)
        for count in counts
        for load in ("new", "unchanged")
    ]
    return Benchmark(4, "17", True, 2, 10_000_000, loads)


@pytest.mark.parametrize("counts", [(1,), (1, 2, 4, 8)])
def test_the_picture_of_a_benchmark_is_svg_with_a_bar_a_stage(counts: tuple[int, ...]) -> None:
    drawn = ElementTree.fromstring(picture.draw(_benchmark(counts, {"parse": 20.0, "a <b> & c": 5.0})))  # noqa: S314
    bars = [one for one in drawn.iter("{http://www.w3.org/2000/svg}rect") if one.get("class") == "gap"]
    assert len(bars) == 2 * 2 * len(counts)
    assert all(float(bar.attrib["height"]) >= 0 for bar in bars)


@pytest.mark.parametrize("most", [0.003, 0.9, 1.0, 3.2, 97.0, 100.0, 12_345.0])
def test_ticks_are_few_and_reach_over_the_largest_value(most: float) -> None:
    marks = picture.ticks(most)
    assert marks[0] == 0
    assert marks[-1] >= most * 0.999
    assert 2 <= len(marks) <= 7
