"""A full disk ends the run with a clear error; with room again, a plain run goes on."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

import medmirror
import mirrors
from medmirror.errors import StoreError
from medmirror.settings import Settings

SIZE = 40 << 20
ROOM = 300_000  # bytes: less than ``files`` need


@pytest.fixture
def small_disk(server: str) -> Iterator[Path]:
    """A file system of 40 MB that the server may write to."""
    with psycopg.connect(server) as connection:
        where = connection.execute("SHOW data_directory").fetchone()
        local = connection.info.host.startswith("/")
    if not local or where is None or not Path(where[0]).exists() or os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted by root, on the machine of the server")
    folder = Path(tempfile.mkdtemp(prefix="medmirror-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("this machine does not let us mount a file system")
    owner = Path(where[0]).stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    (folder / "space").mkdir(mode=0o700)
    os.chown(folder / "space", owner.st_uid, owner.st_gid)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture
def small_dsn(server: str, template: str, small_disk: Path) -> Iterator[str]:
    """A migrated database on that disk."""
    name = f"medmirror_disk_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            SQL("CREATE TABLESPACE {} LOCATION {}").format(Identifier(name), Literal(str(small_disk / "space")))
        )
        connection.execute(
            SQL("CREATE DATABASE {} TEMPLATE {} TABLESPACE {}").format(*map(Identifier, (name, template, name)))
        )
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        connection.execute(SQL("DROP TABLESPACE {}").format(Identifier(name)))


def test_a_full_disk_loses_nothing(
    small_dsn: str, small_disk: Path, files: list[Path], undisturbed: dict[str, mirrors.Content]
) -> None:
    settings = replace(Settings.from_environment(environ={}), dsn=small_dsn, chunk_bytes=30_000, workers=2)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - ROOM))
    with pytest.raises(StoreError, match="disk is full; make room") as caught:
        medmirror.load("pubmed", files, settings=settings)
    assert caught.value.context["sqlstate"] == "53100"
    loaded = mirrors.one(small_dsn, "SELECT count(*) FROM medmirror.chunk")[0]
    ballast.unlink()
    assert medmirror.load("pubmed", files, settings=settings).status == "done"
    mirrors.same(small_dsn, undisturbed)
    assert mirrors.every(small_dsn, "SELECT status FROM medmirror.run ORDER BY run_id")[-1] == ("done",)
    assert isinstance(loaded, int)
