"""Which real files load and which are refused, each with the right reason."""

from __future__ import annotations

from pathlib import Path

import catalogue
import psycopg
import pytest
from catalogue import Loads, Refused, Rejects

import medmirror
from medmirror.ingest.run import LoadResult

pytestmark = catalogue.SHARED

FOLDERS = {"pubmed": "pubmed", "ctgov": "clinicaltrials", "openfda": "openfda", "fhir": "fhir", "pms_csv": "csv_files"}


def ids(path: Path) -> str:
    return catalogue.name(path)


def test_every_file_is_in_the_catalogue_and_every_line_of_it_names_one() -> None:
    files = [path for folder in FOLDERS for path in catalogue.named(folder)]
    assert [catalogue.name(path) for path in files if catalogue.pattern(path) is None] == [], (
        "new files: add them to tests/shared/catalogue.py"
    )
    assert set(catalogue.EXPECTED) - {catalogue.pattern(path) for path in files} == set()


def differences(dsn: str, result: LoadResult, folder: str) -> list[str]:
    """Where a load of a whole folder did not do with a file what the catalogue says."""
    states = {Path(file.path): file for file in result.files}
    with psycopg.connect(dsn) as connection:
        counts = {
            path: tuple(rest)
            for path, *rest in connection.execute(
                "SELECT f.path, sum(c.read), sum(c.rejected), sum(c.inserted + c.updated + c.duplicate + c.unchanged)"
                " FROM medmirror.file AS f LEFT JOIN medmirror.chunk AS c USING (file_id) GROUP BY f.path"
            )
        }
        rejects = connection.execute(
            "SELECT f.path, r.error, r.reason FROM medmirror.reject AS r JOIN medmirror.file AS f USING (file_id)"
        ).fetchall()
    wrong = []
    for path in catalogue.named(folder):
        state, name = states.get(path), catalogue.name(path)
        if state is None:
            wrong.append(f"{name}: the load does not mention it")
            continue
        found = [(error, reason) for where, error, reason in rejects if where == str(path)]
        match catalogue.verdict(path):
            case Refused(words, error):
                if (state.status, state.error) != ("refused", error) or words not in (state.reason or ""):
                    wrong.append(f"{name}: {state.status}, {state.error}: {state.reason}")
            case Rejects(read, words, error):
                if state.status != "done" or counts[str(path)] != (read, read, 0):
                    wrong.append(f"{name}: {state.status}, read, rejected, taken: {counts.get(str(path))}")
                wrong += [f"{name}: {one}" for one in found if one[0] != error or words not in one[1]]
                if len(found) != read:
                    wrong.append(f"{name}: {len(found)} rejects")
            case Loads(read, deletions):
                seen = tuple(count or 0 for count in counts.get(str(path), (0, 0, 0)))
                if state.status != "done" or seen != (read, 0, read - deletions) or found:
                    wrong.append(f"{name}: {state.status} {state.reason}, read, rejected, taken: {seen}, {found[:3]}")
    return wrong


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_loads_or_is_refused_with_the_right_reason(folder: str, request: pytest.FixtureRequest) -> None:
    dsn, result = request.getfixturevalue(FOLDERS[folder])
    assert differences(dsn, result, folder) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_counts_of_the_result_add_up(folder: str, request: pytest.FixtureRequest) -> None:
    _, result = request.getfixturevalue(FOLDERS[folder])
    verdicts = [catalogue.verdict(path) for path in catalogue.named(folder)]
    assert result.read == sum(one.read for one in verdicts if not isinstance(one, Refused))
    assert result.rejected == sum(one.read for one in verdicts if isinstance(one, Rejects))
    assert result.read == (
        result.inserted + result.updated + result.unchanged + result.duplicate + result.tombstoned + result.rejected
    )


def test_each_file_is_recognised_without_naming_its_source(dsn: str) -> None:
    files = {
        path: (folder, catalogue.verdict(path))
        for folder in FOLDERS
        for path in catalogue.named(folder)
        if path.stat().st_size < 2_000_000
    }
    given = {"organization": "clinic-a", "mapping": catalogue.csv_mappings()}
    result = medmirror.load(None, list(files), dsn=dsn, workers=1, index=False, **given)
    wrong = []
    for state in result.files:
        folder, verdict = files[Path(state.path)]
        wanted = ("refused", None) if isinstance(verdict, Refused) else ("done", FOLDERS[folder].removesuffix("_files"))
        if (state.status, state.source if wanted[1] else None) != wanted:
            wrong.append(f"{catalogue.name(Path(state.path))}: {state.status} {state.source}: {state.reason}")
    assert wrong == []
    assert len(result.files) == len(files)
