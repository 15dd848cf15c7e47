"""Fresh processes that never look at the caller's main program.

multiprocessing imports the parent's ``__main__`` again in every process that it spawns, in case a task was defined
there. Ours never are: a worker gets names, bytes and what dill wrote. Without that import, ``medmirror.load`` works
from a script that has no ``if __name__ == "__main__"``, from a notebook and from standard input, and a slow script is
not run once a worker.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any

_swap = threading.Lock()


@contextmanager
def _no_main() -> Iterator[None]:
    """An empty ``__main__`` for the moment in which multiprocessing notes where to find it."""
    with _swap:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _Forked(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _no_main():
            return ForkServerProcess._Popen(process_obj)


class _Spawned(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _no_main():
            return SpawnProcess._Popen(process_obj)


class _ForkServer(ForkServerContext):
    Process = _Forked


class _Spawn(SpawnContext):
    Process = _Spawned


def context(preload: str) -> ForkServerContext | SpawnContext:
    """How to start processes here.

    Never plain fork: a child of a process with threads and database connections inherits locks that nobody will ever
    release. On Linux a fork server that has imported the module *preload* already makes new processes cheap and lets
    them share memory.
    """
    if sys.platform != "linux":
        return _Spawn()
    server = _ForkServer()
    server.set_forkserver_preload([preload])
    return server
