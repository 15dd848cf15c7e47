"""What compose.yaml and the systemd units start begins to work on a database, and ends cleanly on SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

import deployments
import feedfiles
from deployments import Deployed
from medmirror.db import binaries
from medmirror.errors import MedmirrorError
from medmirror.settings import Settings
from places import ROOT

CONTAINERS = [command for command in deployments.deployed() if command.where.startswith("compose")]
SERVICES = [command for command in deployments.deployed() if command.where.endswith(".service")]
STAYING = [command for command in (*CONTAINERS, *SERVICES) if command.words[0] != "nightly"]
SIGNS = {  # of a process that has begun, as the database sees it; `serve` says its address
    "worker": "SELECT 1 FROM medmirror.worker",
    "scheduler": "SELECT 1 FROM medmirror.scheduler",
}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of secrets that the page's own lines make."""
    folder = tmp_path_factory.mktemp("compose")
    (block,) = re.findall(r"```sh\n(umask.*?)```", (ROOT / "docs" / "containers.md").read_text(), re.DOTALL)
    subprocess.run(["sh", "-eu", "-c", block], cwd=folder, check=True)
    return folder / "secrets"


def _environment(where: str, dsn: str, secrets: Path) -> dict[str, str]:
    """The environment that *where* sets, with the test's database and secrets in the place of its own."""
    name = "medmirror.env" if where.endswith(".service") else where
    given = deployments.environments()[name]
    moved = {key: re.sub(r"/run/secrets|/etc/medmirror/secrets", str(secrets), given[key]) for key in given}
    ours = {key: os.environ[key] for key in os.environ if not key.startswith(("MEDMIRROR_", "SYNC_", "PG"))}
    return {**ours, **moved, "MEDMIRROR_DSN": dsn, "MEDMIRROR_HOME": str(secrets.parent / "home")}


@contextmanager
def _running(command: Deployed, dsn: str, secrets: Path) -> Iterator[subprocess.Popen[str]]:
    words = [*command.words, *(["--port", "0"] if command.words[0] == "serve" else [])]
    environment = _environment(command.where, dsn, secrets)
    with subprocess.Popen(
        [sys.executable, "-m", "medmirror", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _until(done: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it has not begun"
        time.sleep(0.1)


@pytest.mark.parametrize("command", STAYING, ids=lambda command: f"{command.where} {command.words[0]}")
def test_it_begins_and_ends_on_sigterm(command: Deployed, dsn: str, secrets: Path) -> None:
    with _running(command, dsn, secrets) as process:
        if command.words[0] == "serve":
            _address(process)
        else:
            with psycopg.connect(dsn, autocommit=True) as connection:
                _until(lambda: connection.execute(SIGNS[command.words[0]]).fetchone(), process)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, (output, errors)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(r"serves at (http://\S+)", line):
            return match[1]
    raise AssertionError(f"it has ended with {process.wait()}")


def test_the_health_check_tells_a_service_that_answers_from_one_that_does_not(dsn: str, secrets: Path) -> None:
    command = next(command for command in CONTAINERS if command.words[0] == "serve")
    with _running(command, dsn, secrets) as process:
        check = _health_check(_address(process).rsplit(":", 1)[1])
        assert subprocess.run(check, check=False).returncode == 0
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert subprocess.run(check, check=False, stderr=subprocess.DEVNULL).returncode != 0


def _health_check(port: str) -> list[str]:
    program, *words = deployments.health_check()
    assert program == "python"
    assert any("8080" in word for word in words)
    return [sys.executable, *(word.replace("8080", port) for word in words)]


def test_the_nightly_of_the_timer_runs_a_night_once(dsn: str, secrets: Path, tmp_path: Path) -> None:
    (command,) = [command for command in SERVICES if command.words[0] == "nightly"]
    (tmp_path / "pubmed").mkdir()
    feedfiles.write(tmp_path / "pubmed", ("pubmed", "citation"), 0)
    file = tmp_path / "nightly.toml"
    file.write_text('[load.pubmed]\npaths = ["pubmed/"]\n')
    words = [str(file) if word == "/etc/medmirror/nightly.toml" else word for word in command.words]
    nights = []
    for _ in range(2):
        environment = _environment(command.where, dsn, secrets)
        subprocess.run([sys.executable, "-m", "medmirror", *words], env=environment, check=True, capture_output=True)
        with psycopg.connect(dsn) as connection:
            nights.append(connection.execute("SELECT count(*) FROM medmirror.nightly").fetchone())
    assert nights == [(1,), (1,)]


def test_the_owner_that_postgres_makes_is_no_superuser_and_stands_behind_the_walls(
    server: str, secrets: Path, tmp_path: Path
) -> None:
    psql = _psql()
    name = f"medmirror_owner_{os.getpid()}"
    script = (ROOT / "deploy" / "postgres" / "owner.sql").read_text()
    script = re.sub(r"(?<=ROLE |BASE )medmirror|(?<=OWNER )medmirror", name, script)
    password = (secrets / "postgres_password").read_text().strip()
    admin = make_conninfo(server, dbname="postgres")
    options = ["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", admin]
    try:
        image = {**os.environ, "POSTGRES_PASSWORD": password}
        subprocess.run([psql, *options], input=script, text=True, check=True, capture_output=True, env=image)
        owner = make_conninfo(server, dbname=name, user=name, password=password)
        with psycopg.connect(owner) as connection:
            roles = "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
            role = connection.execute(roles).fetchone()
        assert role == (False, True)
        file = feedfiles.write(tmp_path, ("cliniko", "patient"), 0)
        load = [sys.executable, "-m", "medmirror", "--dsn", owner, "load", "cliniko", "--org", "org_1", str(file)]
        subprocess.run(load, check=True, capture_output=True)
        with psycopg.connect(owner) as connection:
            walls = connection.execute("SELECT count(*) FROM cliniko.patient").fetchone()
            connection.execute("SET medmirror.organization = '*'")
            all_of_them = connection.execute("SELECT count(*) FROM cliniko.patient").fetchone()
        assert (walls, all_of_them) == ((0,), (feedfiles.RECORDS,))
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
            connection.execute(SQL("DROP ROLE IF EXISTS {}").format(Identifier(name)))


def _psql() -> Path:
    settings = Settings.from_environment()
    try:
        path = binaries.find(settings.home, settings.pg_bin).bin / "psql"
    except MedmirrorError as error:
        pytest.skip(f"no psql: {error}")
    if not path.is_file():
        pytest.skip(f"no psql beside {path.parent}")
    return path
