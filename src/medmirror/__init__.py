"""medmirror keeps a complete, current copy of medical data in Postgres."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medmirror.version import __version__

if TYPE_CHECKING:
    from medmirror.db.retry import retry_with_advisory_lock
    from medmirror.ingest.remap import RemapResult, remap
    from medmirror.ingest.run import LoadResult, load

__all__ = ["LoadResult", "RemapResult", "__version__", "load", "remap", "retry_with_advisory_lock"]

_HOMES = {
    "LoadResult": "ingest.run",
    "RemapResult": "ingest.remap",
    "load": "ingest.run",
    "remap": "ingest.remap",
    "retry_with_advisory_lock": "db.retry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a worker or ``--help`` must not pay for what it does not use."""
    if name in _HOMES:
        return getattr(import_module(f"medmirror.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medmirror' has no attribute {name!r}")
