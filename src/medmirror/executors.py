"""Where chunks are processed: worker processes of this machine, or a Dask cluster. Both are concurrent.futures
executors."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import cast

from medmirror import worker
from medmirror.errors import UsageError


def local(workers: int) -> ProcessPoolExecutor:
    """*workers* fresh processes of this machine.

    Never plain fork: a child of a process with threads and database connections inherits locks that nobody will ever
    release. On Linux a fork server that has imported the worker already makes new ones cheap and lets them share
    memory.
    """
    if sys.platform == "linux":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["medmirror.worker"])
    else:
        context = multiprocessing.get_context("spawn")  # type: ignore[assignment]
    return ProcessPoolExecutor(workers, mp_context=context, initializer=worker.start)


def named(name: str, workers: int) -> Executor:
    """The executor called *name*: ``local``, or ``dask://host:port`` for the cluster whose scheduler listens there.

    Every machine of the cluster must reach the database by the same DSN. Raises UsageError.
    """
    if name == "local":
        return local(workers)
    if name.startswith("dask://"):
        try:
            from distributed import Client
        except ImportError:
            raise UsageError("A Dask cluster needs the extra: pip install 'medmirror[dask]'.") from None
        try:
            client = Client(name.replace("dask://", "tcp://", 1), timeout=10, set_as_default=False)
        except OSError:
            raise UsageError(f"No Dask scheduler answers at {name}.") from None
        return cast(Executor, client.get_executor(pure=False, retries=0))
    raise UsageError(f"There is no executor {name!r}; use local or dask://host:port.")
