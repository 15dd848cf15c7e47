"""docs/settings.md holds every variable, and no other."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from tests.places import ROOT

from medmirror.settings.registry import GROUPS, TOOLS, VARIABLES
from medmirror.settings.variables import Variable, variables_of

BEGIN, END = "<!-- settings: made by tests/unit/settings/test_settings_page.py -->\n", "<!-- end of settings -->"
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
_WIDTH = 120
OURS = {each.name for each in VARIABLES}
TREES = ("src", "scripts", "backend", "bench", "docs", "tests", ".ci", ".github")
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".sql", ".service", ".env", ""}


def settings_text() -> str:
    """Every variable: a section for each group, a heading for each variable; lines of at most 120 characters."""
    groups = {title: tuple(variables_of(group).values()) for title, group in GROUPS.items()}
    sections = {**groups, "Scripts and tests": TOOLS}
    return "\n".join(line for title, variables in sections.items() for line in _section(title, variables))


def _section(title: str, variables: Iterable[Variable]) -> Iterator[str]:
    yield f"## {title}\n"
    for each in variables:
        facts = f"{each.about} Value: {each.kind.accepts}, for example `{each.kind.example}`. Default: {each.shown}."
        yield f"### `{each.name}`\n"
        # A word is never broken: an address or a name must stay whole.
        yield textwrap.fill(facts, _WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def test_the_page_says_what_the_settings_are() -> None:
    assert PAGE.partition(BEGIN)[2].partition(END)[0].strip() == settings_text().strip(), (
        f"put this into docs/settings.md:\n{settings_text()}"
    )


def test_the_page_has_a_heading_for_each_variable_and_no_other() -> None:
    headings = re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(OURS)


def test_every_name_with_our_prefix_in_the_project_is_a_variable() -> None:
    misspelt = ROOT / "tests" / "unit" / "settings"
    below = [path for tree in TREES for path in (ROOT / tree).rglob("*") if not path.is_relative_to(misspelt)]
    files = [path for path in (*below, *ROOT.iterdir()) if path.suffix in TEXTS and path.is_file()]
    names = {
        (name, path.relative_to(ROOT).as_posix())
        for path in files
        for name in re.findall(r"MEDMIRROR_[A-Z][A-Z_]*[A-Z]", path.read_text(encoding="utf-8", errors="replace"))
    }
    assert len(names) > 50
    assert not [(name, path) for name, path in sorted(names) if name not in OURS and path != "docs/settings.md"]
