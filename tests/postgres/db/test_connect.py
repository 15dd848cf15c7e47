from __future__ import annotations

import logging

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, text

from medmirror.db import connect, session
from medmirror.errors import StoreError, StoreUnavailable, UsageError


def _forms(dsn: str) -> dict[str, str]:
    parts = conninfo_to_dict(dsn)
    query = "&".join(f"{name}={value}" for name, value in parts.items() if name != "dbname")
    url = f"postgresql:///{parts['dbname']}?{query}"
    return {
        "pairs": dsn,
        "url": url,
        "short url": url.replace("postgresql:", "postgres:", 1),
        "sqlalchemy url": url.replace("postgresql:", "postgresql+psycopg:", 1),
    }


@pytest.mark.parametrize("form", ["pairs", "url", "short url", "sqlalchemy url"])
def test_every_form_of_a_dsn_that_libpq_takes(dsn: str, form: str) -> None:
    engine = connect.engine(_forms(dsn)[form])
    with engine.connect() as connection:
        name = connection.scalar(text("SELECT current_database()"))
    engine.dispose()
    assert name == conninfo_to_dict(dsn)["dbname"]


def test_what_the_dsn_says_itself_is_kept(dsn: str) -> None:
    engine = connect.engine(f"{dsn} application_name=mine")
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW application_name")) == "mine"
    engine.dispose()


def test_sessions_are_set_up_for_loading(dsn: str) -> None:
    engine = connect.engine(dsn, lock_timeout=2.5, session={"synchronous_commit": "off"})
    with engine.connect() as connection:
        shown = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in ("application_name", "lock_timeout", "TimeZone", "jit", "synchronous_commit")
        }
        lz4 = connection.scalar(
            text("SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'")
        )
        compression = connection.scalar(text("SHOW default_toast_compression"))
        connection.rollback()
        assert connection.scalar(text("SHOW lock_timeout")) == "2500ms"  # a rollback does not undo them
    engine.dispose()
    assert shown == {
        "application_name": "medmirror",
        "lock_timeout": "2500ms",
        "TimeZone": "UTC",
        "jit": "off",
        "synchronous_commit": "off",
    }
    assert compression == ("lz4" if lz4 else "pglz")


def test_a_server_of_an_untested_version_is_refused(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "OLDEST", 99)
    monkeypatch.setattr(session, "NEWEST", 100)
    engine = connect.engine(dsn)
    with pytest.raises(StoreError, match=r"Postgres \d+ is not supported; use one from 99 to 100"):
        connect.check(engine)


def test_a_server_that_is_not_there() -> None:
    engine = connect.engine("postgresql://u:secret@/d?host=/nowhere/at/all")
    with pytest.raises(StoreUnavailable, match=r"check the DSN.*/nowhere/at/all") as caught:
        connect.check(engine)
    assert "secret" not in str(caught.value)


def test_a_dsn_that_cannot_be_read_is_shown_without_its_password() -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        connect.engine("host=h password=secret nonsense=1")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_engine_shows_no_password(caplog: pytest.LogCaptureFixture) -> None:
    engine = connect.engine("postgresql://u:secret@h/d")
    logging.getLogger("test").warning("%r %s", engine, engine.url)
    assert "secret" not in caplog.text


def test_copy_and_statements_share_one_transaction(engine: Engine) -> None:
    with engine.connect() as connection:
        transaction = connection.begin()
        connection.execute(text("CREATE TABLE public.t (a int)"))
        with connect.raw(connection).cursor() as cursor, cursor.copy("COPY public.t FROM STDIN") as copy:
            copy.write_row((1,))
        assert connection.scalar(text("SELECT count(*) FROM public.t")) == 1
        transaction.rollback()
        assert connection.scalar(text("SELECT to_regclass('public.t')")) is None


def test_a_pooled_connection_that_died_is_replaced(engine: Engine, dsn: str) -> None:
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with psycopg.connect(dsn) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != pid
