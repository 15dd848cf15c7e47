"""Only medmirror.settings looks at the environment."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from tests.places import ROOT

FUNCTIONS = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def looks(text: str) -> Iterator[int]:
    """The lines of *text* that look at the environment, or have click do it."""
    for node in ast.walk(ast.parse(text)):
        by_name = isinstance(node, ast.Attribute) and node.attr in FUNCTIONS
        imported = isinstance(node, ast.ImportFrom) and any(alias.name in FUNCTIONS for alias in node.names)
        by_click = isinstance(node, ast.keyword) and node.arg in {"envvar", "auto_envvar_prefix"}
        if by_name or imported or by_click:
            yield node.lineno


@pytest.mark.parametrize(
    "line",
    [
        "import os\nos.environ['A']",
        "import os as system\nsystem.getenv('A')",
        "import os\ndict(os.environb)",
        "from os import environ as here",
        "from os import path, getenv",
        "click.option('--url', envvar='A')",
        "cli(auto_envvar_prefix='A')",
    ],
)
def test_a_look_at_the_environment_is_seen(line: str) -> None:
    assert list(looks(line))


def test_only_the_settings_look_at_the_environment() -> None:
    package = ROOT / "src" / "medmirror" / "settings"
    lines = {
        path: [f"{path.relative_to(ROOT).as_posix()}:{line}" for line in looks(path.read_text(encoding="utf-8"))]
        for path in (ROOT / "src").rglob("*.py")
    }
    assert lines[package / "environment.py"]
    assert not [line for path, places in lines.items() if not path.is_relative_to(package) for line in places]
