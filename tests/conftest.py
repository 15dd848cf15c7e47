"""A Postgres for the whole test session, and a database of its own for each test that asks for one.

Without MEDMIRROR_TEST_DSN the session starts an embedded server in a temporary home and stops it at the end. With it,
the user it names must be allowed to create databases.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import hypothesis
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from sqlalchemy import Engine

from medmirror.db import connect, migrate
from medmirror.errors import EmbeddedServerError
from medmirror.settings import Settings
from medmirror_testing.servers.postgres import postgres

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job, whose children inherit it:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests interrupt the programs that they start

pytest.register_assert_rewrite("mirrors")
pytest_plugins = ["leaks"]  # hears what tests make us say, and fails those that say who a patient is

# The same examples in every run, and no look at the clock: a run never fails by chance, or because the machine is busy.
# `pytest --hypothesis-profile=explore` looks for new ones; what it finds is a defect, and gets a test of its own.
_calm = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True)
hypothesis.settings.register_profile("repeatable", _calm, derandomize=True)
hypothesis.settings.register_profile("explore", _calm, max_examples=1000)
hypothesis.settings.load_profile("repeatable")

_numbers = itertools.count(1)


def pytest_make_parametrize_id(val: object) -> str | None:
    """The name of a parameter of bytes. All processes must give a test one name, and compressed bytes hold the time."""
    if not isinstance(val, bytes):
        return None
    return val.decode() if len(val) < 60 and val.isascii() and val.decode().isprintable() else f"{len(val)} bytes"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A DSN of a server on which databases can be made."""
    given = os.environ.get("MEDMIRROR_TEST_DSN")
    if given:
        yield given
        return
    with ExitStack() as stack:
        try:
            own = stack.enter_context(postgres(Settings.from_environment(), "medmirror-tests-", durable=False))
        except EmbeddedServerError as error:
            pytest.skip(f"no Postgres to test with: {error}")
        yield own.dsn


def _create(server: str, name: str, template: str) -> str:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
    return make_conninfo(server, dbname=name)


def _drop(server: str, name: str) -> None:
    import leaks  # not above: pytest wants to be the first who imports a plugin

    leaks.hear_database(make_conninfo(server, dbname=name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    name = f"medmirror_test_{os.getpid()}_template"
    engine = connect.engine(_create(server, name, "template0"))
    migrate.migrate(engine)
    engine.dispose()
    yield name
    _drop(server, name)


@pytest.fixture(scope="session")
def database(server: str, template: str) -> Callable[[], AbstractContextManager[str]]:
    """A function that makes a migrated database for as long as a `with` lasts."""

    @contextmanager
    def made() -> Iterator[str]:
        name = f"medmirror_test_{os.getpid()}_{next(_numbers)}"
        yield _create(server, name, template)
        _drop(server, name)

    return made


@pytest.fixture
def empty_dsn(server: str) -> Iterator[str]:
    """A database without any table."""
    name = f"medmirror_test_{os.getpid()}_{next(_numbers)}"
    yield _create(server, name, "template0")
    _drop(server, name)


@pytest.fixture
def dsn(server: str, template: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    name = f"medmirror_test_{os.getpid()}_{next(_numbers)}"
    yield _create(server, name, template)
    _drop(server, name)


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    """An engine on ``dsn``."""
    made = connect.engine(dsn, pool_size=10)
    yield made
    made.dispose()
