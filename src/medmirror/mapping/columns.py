"""Whether a table has the columns that its mapping reads. One that was renamed would empty a field of every record."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from medmirror.errors import LayoutChanged
from medmirror.mapping.coverage import above_of, sources_of
from medmirror.mapping.mapper import Mapper
from medmirror.mapping.registry import mappers
from medmirror.mapping.rules.paths import Key, parse


def lacking(source: str, kind: str, columns: Collection[str], texts: Sequence[str]) -> list[str]:
    """The columns that the mapper of *source* and *kind*, with the mapping files *texts*, reads and that are none of
    *columns*. Raises UsageError when one of *texts* is wrong."""
    mapper = mappers(tuple(texts)).of(source, kind)
    return [column for column in columns_of(mapper) if column not in columns] if mapper else []


def refuse(kind: str, missing: Sequence[str], **context: str) -> None:
    """Raise LayoutChanged, with *context*, when the mapping of *kind* reads columns that are *missing*."""
    if missing:
        raise LayoutChanged(
            f"The mapping of {kind} reads columns that are not there: {', '.join(missing)}. If one was renamed, name it"
            ' anew; if it may be missing, say so: optional = ["..."] in its [[mapper]].',
            **context,
        )


def columns_of(mapper: Mapper) -> tuple[str, ...]:
    """The columns that a table must have for *mapper*: the names of the document's own fields that it reads, sorted,
    but for those that are optional."""
    needed: dict[str, str] = {}
    for field in (path for paths in sources_of(mapper) for path in paths):
        if not any(above in mapper.declared.optional for above in above_of(field) if above):
            first = next((step for step in parse(field).steps if isinstance(step, Key)), None) if field else None
            needed |= {first.name: field} if first else {}
    return tuple(sorted(needed))
