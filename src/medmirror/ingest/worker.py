"""A worker process: what it is given for a run, its own engine, and its memory; ``chunk.py`` is what it does."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from multiprocess.reduction import ForkingPickler
from sqlalchemy import Engine

from medmirror import mapping
from medmirror.db import connect
from medmirror.ingest.dedup import digest
from medmirror.settings import Settings

_KEPT = 64 << 20  # bytes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names for them are macros (malloc.h)


class Job(NamedTuple):
    """What is the same for every chunk of a run. *functions* holds the user's own, see ``pack``."""

    settings: Settings
    run_id: int
    functions: bytes = b""
    mappings: tuple[str, ...] = ()  # texts of the user's own mapping files
    renew: bool = False  # rows whose content is unchanged are written again, as this version reads them
    accept_empty: bool = False  # a person has said that fields which are empty in all records are so


class Functions(NamedTuple):
    """The user's own *filter* (feed, record -> keep it?) and *transform* (feed, record -> record), the latter's digest,
    and *mapping*: (source, feed) -> a packed function (document, canonical record -> canonical record)."""

    filter: Callable[[str, dict[str, Any]], bool] | None
    transform: Callable[[str, dict[str, Any]], dict[str, Any]] | None
    salt: bytes
    mapping: Mapping[tuple[str, str], bytes]


def pack(functions: tuple[Any, Any, Mapping[tuple[str, str], Callable[..., Any]]]) -> bytes:
    """*functions* (filter, transform, mapping) as bytes that any worker can load: lambdas and closures of a script too.

    multiprocess pickles with dill, which takes a function by value; *recurse* takes only those globals that it uses. A
    mapping function is packed by itself, here and once: its bytes make the mapper's digest, and a function that was
    loaded from bytes may be packed to others (Python 3.13).
    """
    keep, change, map_with = functions
    mapping_functions = {key: bytes(ForkingPickler.dumps(function, recurse=True)) for key, function in map_with.items()}
    return bytes(ForkingPickler.dumps((keep, change, mapping_functions), recurse=True))


@cache
def functions_of(packed: bytes) -> Functions:
    """The functions that ``pack`` made *packed* of."""
    if not packed:
        return Functions(None, None, b"", {})
    keep, change, map_with = ForkingPickler.loads(packed)  # made by `pack` in the parent of this very run
    return Functions(keep, change, digest(packed) if change else b"", map_with)


@cache
def mappers_of(texts: tuple[str, ...], packed: bytes) -> mapping.Mappers:
    """The mappers of a run, with the user's own files and functions above the built-in ones."""
    mappers = mapping.mappers(texts)
    own = functions_of(packed).mapping
    return mappers.with_functions(own) if own else mappers


@cache
def own_engine(settings: Settings, organization: str | None = None) -> Engine:
    """This process's engine, walled in with *organization* if there is one. Commits of chunks do not wait for the
    disk: the parent's last commit does, and with it all that came before; a chunk that a crash takes away has lost its
    ledger row with it, and is loaded again."""
    return connect.engine_of(settings, pool_size=1, session={"synchronous_commit": "off"}, organization=organization)


def start() -> None:
    """Prepare a worker process: Ctrl-C is the parent's to handle, and a worker whose parent is gone must not stay."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    _keep_memory()
    # Not getppid: that is the fork server, which lives as long as its children.
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _keep_memory() -> None:
    """Have glibc keep what is freed, up to a few chunks: it would map, clear and unmap every large block anew, a tenth
    of a worker's time. The most that is ever held stays the same."""
    with suppress(OSError, AttributeError):  # no glibc: nothing to set
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _KEPT // 2)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def peak_rss() -> int:
    """The most memory that this process ever held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


EngineOf = Callable[[Settings, str | None], Engine]
"""(settings, organization) -> the engine that a chunk of that organization is loaded with."""
