"""A user's own filter and transform, defined in a script, reach the workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import medmirror
import mirrors
from medmirror.settings import Settings
from medmirror_testing.samples.text import FIRST_PMID

SCRIPT = """
import sys
import medmirror

LIMIT = int(sys.argv[2])
PREFIX = "seen: "


def add(prefix):
    def transform(feed, record):
        return {**record, "title": prefix + (record["title"] or "")}
    return transform


if __name__ == "__main__":
    result = medmirror.load(
        "pubmed", sys.argv[1], filter=lambda feed, record: record["pmid"] < LIMIT, transform=add(PREFIX)
    )
    print(result.read, result.inserted, result.updated, result.filtered, result.rejected)
"""


def test_a_lambda_and_a_closure_of_a_script_reach_the_workers(
    settings: Settings, files: list[Path], tmp_path: Path, start: Callable[..., Any]
) -> None:
    script = tmp_path / "nightly.py"
    script.write_text(SCRIPT)
    program = start([str(script), str(files[0]), str(FIRST_PMID + 10)], MEDMIRROR_DSN=str(settings.dsn))
    code, out, messages = program.end()
    assert code == 0, messages
    read, inserted, updated, filtered, rejected = map(int, out.split())
    assert (updated, rejected) == (0, 0)
    assert (read, filtered) == (inserted + filtered, read - inserted)
    assert filtered >= 100
    query = "SELECT count(*), count(*) FILTER (WHERE title LIKE 'seen: %%'), max(pmid) FROM pubmed.citation"
    assert mirrors.one(str(settings.dsn), query) == (inserted, inserted, FIRST_PMID + 9)
    mirrors.books_are_right(str(settings.dsn))


def test_another_transform_counts_as_other_content(settings: Settings, files: list[Path]) -> None:
    """The digest holds the function, so a changed one writes anew, and the same one again does not."""

    def upper(feed: str, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "title": (record["title"] or "").upper()}

    first = medmirror.load("pubmed", files[0], settings=settings)
    second = medmirror.load("pubmed", files[0], settings=settings, transform=upper, force=True)
    third = medmirror.load("pubmed", files[0], settings=settings, transform=upper, force=True)
    assert (second.updated, third.updated, third.unchanged) == (first.inserted, 0, first.inserted)
    query = "SELECT count(*) FROM pubmed.citation WHERE title <> upper(title)"
    assert mirrors.one(str(settings.dsn), query) == (0,)


def test_a_transform_that_gives_a_wrong_type_costs_one_reject(settings: Settings, files: list[Path]) -> None:
    def spoil(feed: str, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "pub_date": "some day"} if record["pmid"] % 10 == 3 else record

    result = medmirror.load("pubmed", files[0], settings=settings, transform=spoil)
    assert 10 <= result.rejected <= 14
    reasons = mirrors.every(str(settings.dsn), "SELECT DISTINCT error, reason FROM medmirror.reject")
    assert len(reasons) == 1
    assert reasons[0][0] == "InvalidRecord"
    assert "pub_date" in str(reasons[0][1])
    assert "some day" not in str(reasons[0][1])
    mirrors.books_are_right(str(settings.dsn))


def test_an_error_in_a_filter_ends_the_run_with_that_error(settings: Settings, files: list[Path]) -> None:
    def wrong(feed: str, record: dict[str, Any]) -> bool:
        return bool(record["no such column"])

    with pytest.raises(KeyError, match="no such column"):
        medmirror.load("pubmed", files[0], settings=settings, filter=wrong)
    assert mirrors.one(str(settings.dsn), "SELECT status, error FROM medmirror.run") == ("failed", "KeyError")
