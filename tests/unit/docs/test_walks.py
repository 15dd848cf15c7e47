"""The three walks of docs/architecture.md lead along files and functions that are there."""

from __future__ import annotations

import ast
import re

import pytest

import places

PAGE = (places.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HOUSE = places.ROOT / "src" / "medmirror"
WALKS = PAGE[PAGE.index("## Three walks") : PAGE.index("## Rooms")]
STEPS = re.findall(r"^\d+\. .*(?:\n {3,}.*)*", WALKS, re.MULTILINE)


def test_there_are_three_walks() -> None:
    assert len(re.findall(r"^### ", WALKS, re.MULTILINE)) == 3
    assert len(STEPS) == 37


@pytest.mark.parametrize("step", STEPS, ids=[" ".join(step.split())[:50] for step in STEPS])
def test_each_file_of_a_step_is_there_and_has_what_is_named_behind_it(step: str) -> None:
    paths = re.findall(r"`([\w/]+\.(?:py|sql|c))`((?: (?!or )?`[\w.]+`,?)*)", step)
    assert paths
    for path, names in paths:
        file = places.ROOT / path if path.startswith("sql/") else HOUSE / path
        assert file.is_file(), path
        if file.suffix == ".py":
            for name in re.findall(r"`([\w.]+)`", names):
                assert name.rpartition(".")[2] in _defined(file.read_text(encoding="utf-8")), f"{path}: {name}"


def _defined(code: str) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)}
