"""From names to files to groups. What needs the ledger is in tests/postgres/test_load.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmirror.errors import UsageError
from medmirror.ingest import inputs


def test_a_folder_is_searched_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b/2.json", "b/10.json", "a/x.xml", "c.gz", ".hidden/y.xml", "b/.z.json", "a/x.xml.md5", "a/x.SHA256"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [str(path.relative_to(tmp_path)) for path in inputs.find([tmp_path])]
    assert found == ["c.gz", "a/x.xml", "b/10.json", "b/2.json"]


def test_a_named_file_is_given_as_it_is_even_when_it_is_missing(tmp_path: Path) -> None:
    some = [tmp_path / "missing", tmp_path / "a.md5"]
    assert list(inputs.find(some)) == some


@pytest.mark.parametrize("names", [[], ["a.md5"], ["README.txt", "spec.pdf"], [".hidden"]])
def test_a_folder_without_a_file_to_load_is_a_mistake(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match=r"holds no file to load"):
        list(inputs.find([tmp_path]))


def test_groups_hold_so_many_and_weigh_so_much() -> None:
    paths = [Path(str(weight)) for weight in (1, 1, 1, 9, 2, 2, 1, 1, 1)]
    groups = inputs._groups(paths, 3, weigh=lambda path: int(path.name), most=4)
    assert [[int(path.name) for path in group] for group in groups] == [[1, 1, 1], [9], [2, 2], [1, 1, 1]]
    assert list(inputs._groups([], 3, weigh=lambda path: 1, most=4)) == []


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"  <HTML><body>", "HTML"),
        (b"<?xml version='1.0'?>", "XML"),
        (b"\n {", "JSON"),
        (b"[1", "JSON"),
        (b"\x00\x01", "neither"),
    ],
)
def test_a_file_that_nobody_knows_is_described(start: bytes, words: str) -> None:
    assert words in inputs._looks_like(start)
