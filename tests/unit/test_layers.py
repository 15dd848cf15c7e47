"""The house: one ordered list, imports that point down only, its picture, and names that say what a thing is."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import architecture
from architecture import FRONT_DOOR, HOUSE, ORDER, part_of

FLOORS = 12
LOOSE_MODULES = 9

APART = {
    ("sources", "db"): "a source knows no database",
    ("mapping", "readers"): "mapping knows documents, no format",
    ("remotes", "db"): "a remote knows no database",
    ("db", "readers"): "db knows tables and statements, no format",
    ("db", "mapping"): "db knows no canonical schema",
}
"""Pairs that must not meet although the list would allow it."""

VAGUE = frozenset(("one", "some", "made", "found", "told", "said", "known"))
VAGUE_SHARE = 0.04  # of the local names in src; the words are right now and then


def test_the_list_names_each_part_that_there_is() -> None:
    assert {part_of(path) for path in architecture.modules()} - FRONT_DOOR == set(ORDER)


def test_a_part_imports_only_what_stands_before_it_in_the_list() -> None:
    places_in_list = {name: place for place, name in enumerate(ORDER)}
    wrong = [
        f"{link.place} ({link.importer}) imports {link.imported}"
        for link in architecture.imports()
        if link.importer not in FRONT_DOOR
        and places_in_list.get(link.imported, len(ORDER)) > places_in_list[link.importer]
    ]
    assert not wrong


def test_what_must_not_meet_does_not() -> None:
    wrong = [
        f"{link.place} imports {link.imported}: {APART[link.importer, link.imported]}"
        for link in architecture.imports()
        if (link.importer, link.imported) in APART
    ]
    assert not wrong


def test_the_house_stays_low_and_its_top_tidy() -> None:
    assert max(architecture.floors().values()) <= FLOORS
    loose = {path.stem for path in HOUSE.glob("*.py")} - FRONT_DOOR
    assert len(loose) <= LOOSE_MODULES, loose


def test_the_picture_shows_the_house_as_it_is() -> None:
    message = "docs/images/architecture.svg is stale: python tests/architecture.py"
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.draw(), message


def test_only_connect_makes_an_engine_and_the_reader_of_other_databases() -> None:
    makers = [
        path.relative_to(HOUSE).as_posix()
        for path in architecture.modules()
        if "create_engine(" in path.read_text(encoding="utf-8")
    ]
    assert makers == ["db/connect.py", "readers/database/session.py"]


def test_only_the_command_line_prints_or_exits() -> None:
    wrong = []
    for path in architecture.modules():
        if part_of(path) in {"cli", "__main__"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.exit", "exit", "quit"}:
                wrong.append(f"{path.relative_to(HOUSE)}:{node.lineno}")
    assert not wrong


def test_no_module_of_a_package_with_code_hides_a_builtin() -> None:
    """A submodule is bound in its package's namespace: remotes/cliniko/list.py would break isinstance(value, list)."""
    builtins = set(dir(__builtins__) if not isinstance(__builtins__, dict) else __builtins__)
    hiding = [
        path.relative_to(HOUSE).as_posix()
        for path in architecture.modules()
        if path.stem in builtins and _has_code(path.with_name("__init__.py"))
    ]
    assert not hiding


def _has_code(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)


Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def local_names(path: Path) -> Iterator[str]:
    """Each parameter and each name that is bound in a function of *path*, once a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield from {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)} | _bound(
                node
            )


def _bound(function: Function) -> set[str]:
    names = set()
    nodes = list(ast.iter_child_nodes(function))
    while nodes:
        node = nodes.pop()
        if isinstance(node, Function | ast.ClassDef):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        nodes += ast.iter_child_nodes(node)
    return names


def test_local_names_are_nouns_of_the_field() -> None:
    names = Counter(name for path in architecture.modules() for name in local_names(path))
    vague = sum(names[name] for name in VAGUE)
    assert vague / names.total() < VAGUE_SHARE, {name: names[name] for name in sorted(VAGUE)}
