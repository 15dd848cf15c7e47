"""Named sections of the package's .sql files: ``-- name --`` begins one, the next such line ends it."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import sqlalchemy

_HEADER = re.compile(r"^-- (\S(?:.*\S)?) --[ \t]*$", re.MULTILINE)


@cache
def sections(name: str) -> MappingProxyType[str, str]:
    """The sections of *name* (``core.sql``, ``sources/pubmed.sql``) by their names, in the order of the file.

    Raises FileNotFoundError when the package has no such file.
    """
    return parse(files("medmirror").joinpath("sql", *name.split("/")).read_text(encoding="utf-8"), name)


@cache
def statement(name: str, section: str) -> sqlalchemy.TextClause:
    """The *section* of *name* as a statement to execute. Raises KeyError when the file has no such section."""
    return sqlalchemy.text(sections(name)[section])


@cache
def source_names() -> tuple[str, ...]:
    """The sources that have a file in sql/sources, sorted."""
    folder = files("medmirror").joinpath("sql", "sources")
    return tuple(sorted(entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql")))


def parse(text: str, name: str = "") -> MappingProxyType[str, str]:
    """The sections of *text*; text before the first header is a comment. Raises ValueError for a name twice."""
    parts = _HEADER.split(text.replace("\r\n", "\n"))
    titled: dict[str, str] = {}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        if title in titled:
            raise ValueError(f"{name} has two sections {title!r}")
        titled[title] = body.strip()
    return MappingProxyType(titled)
