"""A MariaDB of the tests' own: from the distribution's package, in a temporary folder, on a Unix socket only.

On a machine without the programs every test that needs it is skipped, with the reason.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mariadbserver import Server

_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/usr/libexec")
_PATIENCE = 120  # seconds
_numbers = itertools.count(1)


def _program(*names: str) -> str:
    path = os.pathsep.join((os.environ.get("PATH", ""), *_PLACES))
    found = next((where for name in names if (where := shutil.which(name, path=path))), None)
    if found is None:
        pytest.skip(f"no MariaDB to test with: there is no {names[0]} (apt-get install mariadb-server)")
    return found


def _nobody() -> dict[str, Any]:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    names = {one.pw_name for one in pwd.getpwall()}
    user = "mysql" if "mysql" in names else "nobody"
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """The server."""
    install, daemon = _program("mariadb-install-db", "mysql_install_db"), _program("mariadbd", "mysqld")
    pytest.importorskip("pymysql", reason="no MariaDB to test with: pymysql is not installed")
    folder = Path(tempfile.mkdtemp(prefix="medmirror-mariadb-"))  # short: a socket's path may have 107 bytes
    who = _nobody()
    if who:
        shutil.chown(folder, who["user"])
    data, socket = folder / "data", folder / "s"
    subprocess.run(
        [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        capture_output=True,
        **who,
    )
    limits = ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0"]
    names = [f"--datadir={data}", f"--socket={socket}", f"--pid-file={folder / 'pid'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [daemon, "--no-defaults", "--skip-networking", *names, *limits], stdout=log, stderr=log, **who
        )
    try:
        server = Server(socket)
        _wait(process, server, folder / "log")
        yield server
    finally:
        process.terminate()
        process.wait(_PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with server.engine().connect():
                return
        except DBAPIError:
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"MariaDB did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)


@pytest.fixture
def practice(mariadb: Server) -> Iterator[str]:
    """The name of a database of this test's own; the user `reader` may read it."""
    name = f"practice_{next(_numbers)}"
    with mariadb.engine().begin() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        connection.execute(text("CREATE USER IF NOT EXISTS reader@localhost"))
        connection.execute(text(f"GRANT SELECT ON {name}.* TO reader@localhost"))
    yield name
    for user in ("reader", "half"):  # a reading holds the table's definition
        mariadb.kill(user)
    with mariadb.engine().begin() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))
