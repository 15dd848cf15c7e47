"""Where chunks are processed: worker processes of this machine, or a Dask cluster. Both are concurrent.futures
executors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from typing import Any

from medmirror.errors import MedmirrorError, UsageError
from medmirror.ingest import processes, worker


def local(workers: int) -> ProcessPoolExecutor:
    """*workers* fresh processes of this machine, which live as long as the executor."""
    return ProcessPoolExecutor(
        workers, mp_context=processes.context("medmirror.ingest.chunk"), initializer=worker.start
    )


def check(name: str) -> None:
    """Raise UsageError unless ``named`` could make the executor called *name* here."""
    if name.startswith("dask://"):
        if find_spec("distributed") is None:
            raise UsageError("A Dask cluster needs the extra: pip install 'medmirror[dask]'.")
    elif name != "local":
        raise UsageError(f"There is no executor {name!r}; use local or dask://host:port.")


def named(name: str, workers: int) -> Executor:
    """The executor called *name*: ``local``, or ``dask://host:port`` for the cluster whose scheduler listens there.

    Every machine of the cluster must reach the database by the same DSN. Raises UsageError.
    """
    check(name)
    if name == "local":
        return local(workers)
    from distributed import Client

    try:
        client = Client(name.replace("dask://", "tcp://", 1), timeout=5, set_as_default=False)
    except (OSError, ValueError):
        raise UsageError(f"No Dask scheduler answers at {name}.") from None
    return _Cluster(client)


class Inline(Executor):
    """This very process, one chunk at a time, each loaded with *engine_of*'s engine: for a load to be undone."""

    def __init__(self, engine_of: worker.EngineOf) -> None:
        self._engine_of = engine_of

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call *fn* now; its result or error is there at once."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, engine_of=self._engine_of, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does: whoever asks for the result hears of it
            future.set_exception(error)
        return future


class _Cluster(Executor):
    """A Dask cluster as an executor like the local one: what was submitted is not cancelled but waited for, a chunk
    that killed its workers raises BrokenProcessPool, and shutdown ends the connection."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._flying: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have the cluster call *fn*. Dask's own answer for equal arguments (pure) would skip a repeated chunk."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._flying.add(future)
        remote = self._client.submit(fn, *args, **kwargs, pure=False, retries=0)
        remote.add_done_callback(lambda done: self._hand_on(done, future))
        return future

    def _hand_on(self, done: Any, future: Future[Any]) -> None:
        from distributed import KilledWorker

        try:
            future.set_result(done.result())
        except KilledWorker:
            future.set_exception(BrokenProcessPool("the cluster's workers died of this chunk"))
        except MedmirrorError as error:
            future.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - a future must end, whatever the cluster came to
            lost = MedmirrorError(
                "The Dask cluster lost a chunk; run the same command again.", error=type(error).__name__
            )
            future.set_exception(lost)
        finally:
            self._flying.discard(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what is under way, then leave the cluster."""
        for future in list(self._flying) if wait else ():
            future.exception()
        self._client.close()
