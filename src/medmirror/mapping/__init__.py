"""From every system's records to one canonical schema, and back. Knows no database and no process pool.

``entities`` declares the canonical schema, ``grammar`` the TOML that maps a source onto it, ``converters`` the
conversions of a value.
"""

from __future__ import annotations

import medmirror.mapping.mappers  # noqa: F401 - the folder, now: imported later, it would take the function's name
from medmirror.mapping.convert.scope import Problem
from medmirror.mapping.mapper import Mapped, Mapper, Tombstone, Unmapped, canonical_hash, canonical_text
from medmirror.mapping.registry import Mappers, mappers
from medmirror.mapping.schema.kinds import SCHEMA_VERSION
from medmirror.mapping.schema.versions import upgrade

__all__ = [
    "SCHEMA_VERSION",
    "Mapped",
    "Mapper",
    "Mappers",
    "Problem",
    "Tombstone",
    "Unmapped",
    "canonical_hash",
    "canonical_text",
    "mappers",
    "upgrade",
]
