"""The place of the measurements: one Postgres server, a fresh database a measurement, and generated input files.

Both sides of a comparison run as commands of their own, so that each pays for its start, and nothing of this process
counts.
"""

from __future__ import annotations

import compileall
import hashlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, LiteralString, NamedTuple, Protocol

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

import bench
import medmirror
from bench.measure import Measured, measure
from medmirror.settings import Settings
from medmirror_testing import samples
from medmirror_testing.servers.postgres import postgres

_numbers = itertools.count(1)


class Load(NamedTuple):
    """A load by medmirror's command: its cost, and the JSON that it printed."""

    cost: Measured
    result: dict[str, Any]


class Sample(NamedTuple):
    """A generated input: its path, its records and decoded bytes, and how many records are later versions."""

    path: Path
    records: int
    size: int
    changed: int


class _Written(Protocol):
    @property
    def path(self) -> Path: ...
    @property
    def records(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def changed(self) -> Sequence[Any]: ...


@dataclass(slots=True)
class Lab:
    """The lab. *server*: a DSN whose user may create databases. *runs*: the number of runs that a median is taken
    of."""

    server: str
    scratch: Path
    runs: int
    quick: bool
    on_step: Callable[[str], None] = lambda what: None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.log = self.scratch / "commands.log"
        for package in (bench, medmirror):  # else the first commands would pay for it, in a checkout
            compileall.compile_dir(package.__path__[0], quiet=2)

    # Databases

    @contextmanager
    def database(self) -> Iterator[str]:
        """The DSN of a database without any table, which is dropped at the end."""
        name = f"medmirror_bench_{os.getpid()}_{next(_numbers)}"
        self._execute("CREATE DATABASE {} TEMPLATE template0", name)
        try:
            yield make_conninfo(self.server, dbname=name)
        finally:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: LiteralString, name: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as conn:
            conn.execute(SQL(statement).format(Identifier(name)))

    def rest(self, dsn: str) -> None:
        """Do the server's own work before the next day's load (VACUUM, CHECKPOINT), so that no measurement includes
        it."""
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("VACUUM (ANALYZE)")
            conn.execute("CHECKPOINT")

    # Work

    def command(
        self, name: str, command: Sequence[str], dsn: str, *, records: int | None = None, every: float = 0.5
    ) -> Load:
        """Run a medmirror or Python command; return its cost, and the JSON that it printed, if any.

        Its messages go to ``commands.log`` in the scratch folder.
        """
        self.on_step(name)
        answer = self.scratch / f"answer-{os.getpid()}.json"
        env = self.environment(dsn) | {"ANSWER": str(answer), "LOG": str(self.log)}
        shell = ["/bin/sh", "-c", 'exec "$@" > "$ANSWER" 2>> "$LOG"', "sh", sys.executable, *command]
        cost = measure(name, shell, dsn=dsn, records=records, every=every, env=env)
        text = answer.read_text()
        answer.unlink()
        if cost.exit_code not in (0, 3):
            raise RuntimeError(f"{' '.join(command)} ended with {cost.exit_code}; see {self.log}")
        result = json.loads(text) if text.startswith("{") else {}
        return Load(replace(cost, records=result.get("read", cost.records)), result)

    def environment(self, dsn: str) -> dict[str, str]:
        """The environment of a command that works on *dsn*, whatever this process's own environment says."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("MEDMIRROR_", "PG"))}
        own.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode, too
        return own | {"MEDMIRROR_DSN": dsn}

    def load(
        self,
        dsn: str,
        source: str,
        paths: Sequence[Path],
        *options: str,
        name: str = "medmirror",
        workers: int = 2,
        every: float = 0.5,
    ) -> Load:
        """``medmirror load`` of *paths*."""
        words = ["-m", "medmirror", "load", source, *map(str, paths), "--workers", str(workers), "--json", *options]
        return self.command(name, words, dsn, every=every)

    def opponent(self, name: str, dsn: str, path: Path, records: int, what: str = "load") -> Measured:
        """An opponent's load of *path*: ``load`` for citations, ``load_studies`` for studies."""
        code = f"import sys; from pathlib import Path; from bench.opponents.{name} import {what} as load"
        code += "; load(Path(sys.argv[1]), sys.argv[2])"
        return self.command(name, ["-c", code, str(path), dsn], dsn, records=records).cost

    # Input

    def pubmed(self, citations: int, *, number: int = 1, **options: Any) -> Sample:
        """A gzipped PubMed file of so many citations."""
        name = f"pubmed26n{number:04d}.xml.gz"
        return self.sample(
            ("pubmed", citations, number, options),
            name,
            lambda path: samples.write_pubmed(path, citations, number=number, **options),
        )

    def studies(self, studies: int, **options: Any) -> Sample:
        """ClinicalTrials.gov studies: an array, or a folder with ``shape="folder"``."""
        return self.sample(
            ("studies", studies, options),
            "studies" if options.get("shape") == "folder" else "studies.json",
            lambda path: samples.write_studies(path, studies, **options),
        )

    def labels(self, records: int) -> Sample:
        """One openFDA object of drug labels."""
        name = "drug-label-0001-of-0001.json"
        return self.sample(("labels", records), name, lambda path: samples.write_openfda(path, "label", records))

    def sample(self, what: object, name: str, write: Callable[[Path], _Written]) -> Sample:
        """The sample called *name*; *write* makes it unless an earlier run has left the same sample."""
        key = hashlib.sha256(f"{what!r} {_generator()}".encode()).hexdigest()[:16]
        folder = self.scratch / "inputs" / key
        facts = folder / "facts.json"
        if not facts.exists():
            self.on_step(f"making {name} {what}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            written = write(folder / name)
            facts.write_text(json.dumps([written.records, written.size, len(written.changed)]))
        return Sample(folder / name, *json.loads(facts.read_text()))


def _generator() -> str:
    """A digest of the code that makes samples."""
    digest = hashlib.sha256()
    for path in sorted(Path(samples.__path__[0]).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def opened(
    dsn: str | None, scratch: Path | None, runs: int, quick: bool, on_step: Callable[[str], None]
) -> Iterator[Lab]:
    """A lab on the server of *dsn*, else on an embedded one of its own, which ends with the lab.

    *scratch* keeps the inputs for the next time; None, on a server of its own: they go with it.
    """
    if dsn:
        assert scratch is not None
        yield Lab(dsn, scratch, runs, quick, on_step)
        return
    with postgres(Settings.from_environment({}), "medmirror-bench-") as own:
        yield Lab(own.dsn, scratch or own.folder / "scratch", runs, quick, on_step)


def touched(dsn: str, schema: str) -> dict[str, tuple[int, int, int]]:
    """The numbers of rows ever inserted, updated and deleted, by table of *schema*."""
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables WHERE schemaname = %s", [schema]
        )
        return {name: tuple(counts) for name, *counts in rows}
