"""Mirroring what publishers put out: download what is new, load it, and only then remember that it was mirrored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from medmirror.clock import SYSTEM, Clock
from medmirror.errors import UsageError

if TYPE_CHECKING:
    from medmirror.publishers.base import Options, Result
    from medmirror.settings import Settings


def mirror(
    publisher: str,
    options: Options,
    *,
    settings: Settings,
    folder: Path | None = None,
    clock: Clock = SYSTEM,
    reached: Callable[[str], None] = lambda step: None,
    got: Callable[[int], None] = lambda count: None,
) -> Result:
    """Mirror what is new at *publisher* (pubmed, clinicaltrials, openfda); return what that came to.

    *folder*: where files lie until they are loaded. *reached* is told each step (fetched, loaded, remembered), *got*
    the bytes as they come. Running it again fetches what has come since.

    Raises UsageError, the errors of ``sync.remotes.http``, ListingIncomplete, TruncatedFile, LayoutChanged,
    SyncRunning, StoreError. What was loaded and remembered before stays.
    """
    from medmirror.publishers import base, clinicaltrials, openfda, pubmed

    modules = {
        "pubmed": (pubmed.run, pubmed.ADDRESS, pubmed.OTHERS),
        "clinicaltrials": (clinicaltrials.run, clinicaltrials.ADDRESS, clinicaltrials.OTHERS),
        "openfda": (openfda.run, openfda.ADDRESS, openfda.OTHERS),
    }
    if publisher not in modules:
        raise UsageError(f"There is no publisher {publisher!r}; there are {', '.join(modules)}.")
    if options.only and publisher != "openfda":
        raise UsageError("--only is for openfda, which has several lists.")
    run, address, others = modules[publisher]
    with base.tool(
        publisher,
        address,
        options,
        settings=settings,
        folder=folder,
        others=others,
        clock=clock,
        reached=reached,
        got=got,
    ) as tool:
        return run(tool)
