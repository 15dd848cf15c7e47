"""The settings as Markdown, for docs/settings.md."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from medmirror.settings.registry import GROUPS, TOOLS
from medmirror.settings.variables import Variable, variables_of

_WIDTH = 120


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
