"""The pages of the Python interface are drawn from docstrings, so their lists must be read as lists."""

import ast

from tests.places import ROOT

SECTION = "Parameters\n----------\n"
LATER = ("Returns\n", "Raises\n", "Yields\n")


def test_nothing_but_another_section_follows_a_list_of_parameters() -> None:
    """The reader of numpy's form takes a paragraph after the list for one more parameter."""
    wrong, lists = [], 0
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                _, section, listed = (ast.get_docstring(node) or "").partition(SECTION)
                _, gap, after = listed.partition("\n\n")
                lists += bool(section)
                if gap and not after.startswith(LATER):
                    wrong.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not wrong
    assert lists > 10
