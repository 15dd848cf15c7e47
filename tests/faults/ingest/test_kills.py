"""Processes die, connections break: nothing is lost, and a plain second run makes the tables whole."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from proxy import Proxy

import medmirror
import mirrors
from gates import Gate
from medmirror.db import embedded
from medmirror.errors import EmbeddedServerError, StoreError
from medmirror.ingest.inputs import FileState
from medmirror.ingest.pipeline import Totals
from medmirror.settings import Settings

Undisturbed = dict[str, mirrors.Content]
SCHEMA = "SELECT count(*) FROM medmirror.chunk"


class At:
    """An ``on_progress`` that does something once, after so many records."""

    def __init__(self, records: int, act: Callable[[Totals], object]) -> None:
        self.records, self.act, self.done = records, act, False

    def __call__(self, totals: Totals, files: list[FileState]) -> None:
        """Act when it is time."""
        if not self.done and totals.counts.read >= self.records:
            self.done = True
            self.act(totals)


def test_a_killed_worker_is_replaced_and_nothing_is_lost(
    settings: Settings, files: list[Path], undisturbed: Undisturbed
) -> None:
    kill = At(20, lambda totals: os.kill(next(iter(totals.worker_peaks)), signal.SIGKILL))
    result = medmirror.load("pubmed", files, settings=settings, on_progress=kill)
    assert kill.done
    assert (result.status, result.rejected) == ("done", 0)
    assert result.worker_deaths == 1
    mirrors.same(str(settings.dsn), undisturbed)


def test_a_killed_parent_takes_its_workers_along_and_a_plain_run_goes_on(
    settings: Settings,
    files: list[Path],
    undisturbed: Undisturbed,
    load_command: tuple[list[str], dict[str, str]],
    start: Callable[..., Any],
) -> None:
    dsn = str(settings.dsn)
    gate = Gate(dsn, "medmirror.chunk", 10)
    program = start(load_command[0], **load_command[1])
    gate.until_somebody_waits()
    assert len(program.processes()) > 2
    os.kill(program.process.pid, signal.SIGKILL)
    program.process.wait()
    mirrors.until(lambda: not program.processes(), "workers outlived their parent")
    gate.open()
    mirrors.wait_until_alone(dsn)
    assert mirrors.one(dsn, "SELECT status FROM medmirror.run") == ("running",)
    (before,) = mirrors.one(dsn, SCHEMA)
    again = start(load_command[0], **load_command[1])
    assert again.end()[0] == 0
    mirrors.same(dsn, undisturbed)
    assert mirrors.every(dsn, "SELECT status FROM medmirror.run ORDER BY run_id") == [("interrupted",), ("done",)]
    # What was committed before was not done again.
    assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.chunk WHERE run_id = 1") == (before,)
    twice = "SELECT FROM medmirror.chunk GROUP BY file_id, member, start_byte, end_byte HAVING count(*) > 1"
    assert mirrors.every(dsn, twice) == []


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(
    settings: Settings,
    undisturbed: Undisturbed,
    load_command: tuple[list[str], dict[str, str]],
    start: Callable[..., Any],
) -> None:
    dsn = str(settings.dsn)
    gate = Gate(dsn, "medmirror.chunk", 10)
    program = start(load_command[0], **load_command[1])
    gate.until_somebody_waits()
    os.killpg(program.process.pid, signal.SIGINT)  # what a terminal does: everybody gets it
    gate.open()
    code, _, messages = program.end()
    assert code == 130
    assert "run the same command again" in messages
    assert "Traceback" not in messages
    mirrors.until(lambda: not program.processes(), "a worker was left behind")
    assert mirrors.one(dsn, "SELECT status, finished_at IS NOT NULL FROM medmirror.run") == ("interrupted", True)
    mirrors.books_are_right(dsn)
    assert start(load_command[0], **load_command[1]).end()[0] == 0
    mirrors.same(dsn, undisturbed)


def test_two_runs_of_the_same_files_at_once(
    settings: Settings,
    undisturbed: Undisturbed,
    load_command: tuple[list[str], dict[str, str]],
    start: Callable[..., Any],
) -> None:
    both = [start(load_command[0], **load_command[1]) for _ in range(2)]
    assert [program.end()[0] for program in both] == [0, 0]
    mirrors.same(str(settings.dsn), undisturbed)
    assert mirrors.every(str(settings.dsn), "SELECT DISTINCT status FROM medmirror.file") == [("done",)]


def test_a_record_that_kills_every_worker_becomes_one_reject(settings: Settings, files: list[Path]) -> None:
    dsn = str(settings.dsn)
    poison = eleventh(files[2])

    def deadly(feed: str, record: dict[str, Any]) -> bool:
        import os

        if record["pmid"] == poison:
            os.kill(os.getpid(), 9)
        return True

    result = medmirror.load("pubmed", files[2], settings=replace(settings, chunk_bytes=1 << 20), filter=deadly)
    assert (result.status, result.rejected, result.filtered) == ("rejects", 1, 0)
    assert result.read == result.inserted + result.tombstoned + 1
    assert result.worker_deaths > 2
    fields = "error, attempts, source, raw_complete, raw, item, end_byte - start_byte, reason"
    reject = mirrors.one(dsn, f"SELECT {fields} FROM medmirror.reject")  # noqa: S608
    assert reject[:4] == ("KillsWorker", 1, "pubmed", True)
    assert f'<PMID Version="1">{poison}</PMID>'.encode() in bytes(reject[4])  # type: ignore[call-overload]
    assert bytes(reject[4]).count(b"<PubmedArticle>") == 1  # type: ignore[call-overload]
    assert reject[5:7] == (10, len(bytes(reject[4])))  # type: ignore[call-overload]
    assert str(poison) not in str(reject[7])
    mirrors.books_are_right(dsn)
    # Without the poison the same record loads, and the reject is settled.
    again = medmirror.load("pubmed", files[2], settings=settings, force=True)
    assert (again.inserted, again.rejected) == (1, 0)
    assert mirrors.one(dsn, "SELECT resolved_at IS NOT NULL, attempts FROM medmirror.reject") == (True, 1)
    mirrors.books_are_right(dsn)


def eleventh(path: Path) -> int:
    """The PMID of item 10 of a plain file."""
    item = re.split(rb"<Pubmed(?:Book)?Article>", path.read_bytes())[11]
    return int(item.split(b"</PMID>")[0].rpartition(b">")[2])


def test_ended_backends_are_replaced(settings: Settings, files: list[Path], undisturbed: Undisturbed) -> None:
    dsn = str(settings.dsn)

    def end_all(totals: Totals) -> None:
        mirrors.every(
            dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )

    ended = [At(records, end_all) for records in (10, 60, 110)]

    def progress(totals: Totals, states: list[FileState]) -> None:
        for one in ended:
            one(totals, states)

    result = medmirror.load("pubmed", files, settings=settings, on_progress=progress)
    assert (result.status, result.worker_deaths) == ("done", 0)
    assert all(one.done for one in ended)
    mirrors.same(dsn, undisturbed)


def test_a_cut_connection_is_made_again(settings: Settings, files: list[Path], undisturbed: Undisturbed) -> None:
    proxy = Proxy(str(settings.dsn))
    cut = [At(records, lambda totals: proxy.cut()) for records in (10, 60, 110)]

    def progress(totals: Totals, states: list[FileState]) -> None:
        for one in cut:
            one(totals, states)

    result = medmirror.load("pubmed", files, settings=replace(settings, dsn=proxy.dsn), on_progress=progress)
    proxy.listener.close()
    assert result.status == "done"
    assert all(one.done for one in cut)
    assert proxy.cuts > 0
    mirrors.same(str(settings.dsn), undisturbed)


def test_chunks_that_a_crash_took_away_are_loaded_again(
    settings: Settings, files: list[Path], undisturbed: Undisturbed, engine: Any
) -> None:
    """Workers do not wait for the disk: a crash of the server may undo what they have reported."""
    forget = At(60, lambda totals: mirrors.empty(engine))
    result = medmirror.load("pubmed", files, settings=settings, on_progress=forget)
    assert forget.done
    mirrors.same(str(settings.dsn), undisturbed)
    asked = "SELECT sum(read), sum(inserted), count(*) FILTER (WHERE status = 'open') FROM medmirror.chunk"
    assert mirrors.one(str(settings.dsn), f"{asked} JOIN medmirror.file USING (file_id)") == (
        result.read,
        result.inserted,
        0,
    )
    assert medmirror.load("pubmed", files, settings=settings).read == 0


@pytest.fixture
def own_server() -> Iterator[Settings]:
    """A server that only this test uses, and may kill."""
    folder = Path(tempfile.mkdtemp(prefix="medmirror-"))
    folder.chmod(0o711)
    settings = replace(Settings.from_environment(environ={}), home=folder / "home", chunk_bytes=30_000, workers=2)
    try:
        embedded.start(settings)
    except EmbeddedServerError as error:
        pytest.skip(f"no server of our own: {error}")
    yield settings
    embedded.stop(settings)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_killed_server_ends_the_run_and_a_plain_run_goes_on(
    own_server: Settings, files: list[Path], undisturbed: Undisturbed
) -> None:
    def kill(totals: Totals) -> None:
        pid = embedded.status(own_server).pid
        assert pid
        os.kill(pid, signal.SIGKILL)

    at = At(30, kill)
    with pytest.raises(StoreError, match=r"cannot be reached.* It says: "):
        medmirror.load("pubmed", files, settings=replace(own_server, reconnect=2), on_progress=at)
    assert at.done
    result = medmirror.load("pubmed", files, settings=own_server)  # starts the server again
    assert result.status == "done"
    dsn = embedded.status(own_server).dsn
    mirrors.same(dsn, undisturbed)
    assert mirrors.every(dsn, "SELECT status FROM medmirror.run ORDER BY run_id")[-1] == ("done",)


def test_a_killed_backend_restarts_the_server_and_the_run_goes_on(
    own_server: Settings, files: list[Path], undisturbed: Undisturbed
) -> None:
    dsn = embedded.status(own_server).dsn

    def kill(totals: Totals) -> None:
        query = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'medmirror' ORDER BY backend_start DESC LIMIT 1"
        )
        (pid,) = mirrors.one(dsn, query)
        os.kill(int(str(pid)), signal.SIGKILL)

    at = At(30, kill)
    assert medmirror.load("pubmed", files, settings=own_server, on_progress=at).status == "done"
    assert at.done
    assert medmirror.load("pubmed", files, settings=own_server).read == 0
    mirrors.same(dsn, undisturbed)
