"""The same pipeline on a Dask cluster: a real scheduler and two worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import medmirror
import mirrors
from medmirror.errors import UsageError
from medmirror.ingest.inputs import FileState
from medmirror.ingest.pipeline import Totals
from medmirror.settings import Settings

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and two worker processes of this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
    ) as made:
        yield made


def executor(cluster: Any) -> str:
    """What to say to load."""
    return str(cluster.scheduler_address).replace("tcp://", "dask://")


def processes(cluster: Any) -> set[int]:
    """The workers of *cluster*."""
    with distributed.Client(cluster) as client:
        return set(client.run(os.getpid).values())


def test_the_same_tables_as_on_this_machine(
    settings: Settings, files: list[Path], undisturbed: dict[str, mirrors.Content], cluster: Any
) -> None:
    pids: set[int] = set()

    def note(totals: Totals, states: list[FileState]) -> None:
        pids.update(totals.worker_peaks)

    wanted = 4

    def keep(feed: str, record: dict[str, Any]) -> bool:
        return bool(record["pmid"]) and wanted == 4

    result = medmirror.load(
        "pubmed", files, settings=settings, executor=executor(cluster), on_progress=note, filter=keep
    )
    assert (result.status, result.filtered) == ("done", 0)
    assert pids
    assert pids <= processes(cluster)
    assert os.getpid() not in pids
    mirrors.same(str(settings.dsn), undisturbed)
    again = medmirror.load("pubmed", files, settings=settings, executor=executor(cluster))
    assert {file.status for file in again.files} == {"skipped"}


def test_a_killed_worker_of_the_cluster_loses_nothing(
    settings: Settings, files: list[Path], undisturbed: dict[str, mirrors.Content], cluster: Any
) -> None:
    killed: list[int] = []

    def kill(totals: Totals, states: list[FileState]) -> None:
        if not killed and totals.counts.read > 20:
            killed.append(next(iter(totals.worker_peaks)))
            os.kill(killed[0], signal.SIGKILL)

    result = medmirror.load("pubmed", files, settings=settings, executor=executor(cluster), on_progress=kill)
    assert killed
    assert result.status == "done"
    mirrors.same(str(settings.dsn), undisturbed)


def test_a_record_that_kills_the_clusters_workers_becomes_one_reject(
    settings: Settings, files: list[Path], cluster: Any
) -> None:
    def deadly(feed: str, record: dict[str, Any]) -> bool:
        import os

        if record["title"] and record["pmid"] % 7 == 0:
            os.kill(os.getpid(), 9)
        return True

    small = replace(settings, chunk_bytes=1 << 22)
    result = medmirror.load("pubmed", files[2], settings=small, executor=executor(cluster), filter=deadly)
    kinds = mirrors.every(str(settings.dsn), "SELECT error, raw_complete FROM medmirror.reject")
    assert result.rejected == len(kinds) >= 1
    assert set(kinds) == {("KillsWorker", True)}
    mirrors.books_are_right(str(settings.dsn))


def test_an_error_of_the_database_comes_through(settings: Settings, files: list[Path], cluster: Any) -> None:
    mirrors.run(str(settings.dsn), "ALTER TABLE pubmed.citation RENAME COLUMN title TO heading")
    with pytest.raises(medmirror.errors.StoreError) as caught:
        medmirror.load("pubmed", files, settings=settings, executor=executor(cluster))
    assert caught.value.context["sqlstate"] == "42703"


def test_no_scheduler_there(settings: Settings, files: list[Path]) -> None:
    with pytest.raises(UsageError, match="No Dask scheduler answers"):
        medmirror.load("pubmed", files, settings=settings, executor="dask://127.0.0.1:1")
