"""The columns that stored records have: a table that had one and has it no more was changed by its maker."""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson
from sqlalchemy import Engine, text

from medmirror import sources
from medmirror.db import sql
from medmirror.mapping import mappers


def stored(engine: Engine, source: str | None, organization: str, mappings: Sequence[str]) -> str:
    """For each kind of record that *mappings* (texts of mapping files) map: the columns that some stored records of
    *organization* have, as JSON; of every source whose kinds a mapping file names when *source* is None."""
    texts = sql.sections("mapping.sql")
    columns: dict[str, list[str]] = {}
    with engine.connect() as conn:
        for name, kind in mappers(tuple(mappings)).names():
            own = sources.get(name) if source in (None, name) and name in sources.names() else None
            feed = next((feed for feed in own.feeds if len(feed.key) == 3), None) if own and own.tenant else None
            if feed is None:
                continue
            names = {"table": f'"{name}"."{feed.name}"', "document": f'"{feed.document}"', "kind": feed.key[1].name}
            if not re.fullmatch(r'[a-z_0-9". ]+', " ".join(names.values())):
                raise ValueError(f"not plain identifiers: {name}.{feed.name}")
            statement = text(texts["stored columns"].format(**names))
            found = conn.execute(statement, {"organization": organization, "kind": kind}).scalar()
            if found:
                columns[kind] = found
    return orjson.dumps(columns).decode()
