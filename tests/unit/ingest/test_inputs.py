"""From names to files to groups. What needs the ledger is in tests/postgres/test_load.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmirror.ingest import inputs


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
