"""Imports point down only: a module may import what has a smaller number, and its own package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import medmirror

ROOT = Path(medmirror.__file__).parent

LAYERS = (
    {"errors", "model", "version", "copyformat", "clock", "dates", "nights", "settings", "native"},
    {"mapping", "readers", "db"},
    {"sources"},
    {"remotes", "search", "verify", "matching", "ingest", "jobs", "sync", "nightly", "publishers"},
    {"schedule"},
    {"service"},
    {"cli"},
)
"""Layer 0 first. A name is a module or a package of medmirror. Those of one layer may import each other."""

APART = {
    ("sources", "db"): "a source knows no database",
    ("mapping", "db"): "mapping knows no database",
    ("mapping", "sources"): "mapping knows documents, no source",
    ("readers", "sources"): "a reader knows no source",
    ("db", "sources"): "db knows tables and statements, no source by name",
}
"""Pairs that must not meet although their layers would allow it."""

ABOVE_ALL = {"__init__", "__main__"}
"""The package's own front door hands out names of every layer."""


def _layer(name: str) -> int | None:
    return next((number for number, names in enumerate(LAYERS) if name in names), None)


def _part(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """(part of medmirror, line) of every import in *path*, those within functions too."""
    package = ["medmirror", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "medmirror" and len(parts) > 1:
                yield parts[1], node.lineno


MODULES = sorted(path for path in ROOT.rglob("*.py") if path.is_relative_to(ROOT))


def test_every_module_has_a_layer() -> None:
    assert {_part(path) for path in MODULES if _layer(_part(path)) is None} <= ABOVE_ALL


def test_imports_point_down() -> None:
    wrong = []
    for path in MODULES:
        mine = _layer(_part(path))
        for name, line in _imports(path):
            theirs = _layer(name)
            if mine is not None and theirs is not None and theirs > mine:
                wrong.append(f"{path.relative_to(ROOT)}:{line} (layer {mine}) imports {name} (layer {theirs})")
    assert not wrong


def test_what_must_not_meet_does_not() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}: {APART[_part(path), name]}"
        for path in MODULES
        for name, line in _imports(path)
        if (_part(path), name) in APART
    ]
    assert not wrong


def test_only_connect_makes_an_engine_and_the_reader_of_other_databases() -> None:
    makers = [
        path.relative_to(ROOT).as_posix() for path in MODULES if "create_engine(" in path.read_text(encoding="utf-8")
    ]
    assert makers == ["db/connect.py", "readers/database/session.py"]


def test_only_the_command_line_prints_or_exits() -> None:
    wrong = []
    for path in MODULES:
        if _part(path) in {"cli", "__main__"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.exit", "exit", "quit"}:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong
