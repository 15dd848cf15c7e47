from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from medmirror.errors import UsageError
from medmirror.settings import (
    MIB,
    PayloadSettings,
    ServiceSettings,
    Settings,
    SourceSettings,
    child_environment,
    default_workers,
    mask_password,
    read,
)

WRONG = [
    ("MEDMIRROR_DSN", "db.example.org"),
    ("MEDMIRROR_WORKERS", "0"),
    ("MEDMIRROR_WORKERS", "many"),
    ("MEDMIRROR_WORKERS", "2.5"),
    ("MEDMIRROR_CHUNK_BYTES", "big"),
    ("MEDMIRROR_CHUNK_BYTES", "-1"),
    ("MEDMIRROR_MAX_RECORD_BYTES", "12"),
    ("MEDMIRROR_MAX_ZIP_RATIO", "0"),
    ("MEDMIRROR_LOCK_TIMEOUT", "nan"),
    ("MEDMIRROR_LOCK_TIMEOUT", "0"),
    ("MEDMIRROR_LOG_LEVEL", "LOUD"),
    ("MEDMIRROR_LOG_JSON", "perhaps"),
]


def test_everything_has_a_default() -> None:
    settings = Settings.from_environment({})
    assert settings.dsn is None
    assert settings.home.is_absolute()
    assert (settings.chunk_bytes, settings.max_record_bytes) == (2 * MIB, 64 * MIB)


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            "MEDMIRROR_DSN": "postgresql://u@h/d",
            "MEDMIRROR_HOME": "/srv/m",
            "MEDMIRROR_WORKERS": "7",
            "MEDMIRROR_CHUNK_BYTES": "2 MiB",
            "MEDMIRROR_MAX_RECORD_BYTES": "1G",
            "MEDMIRROR_MAX_ZIP_RATIO": "50",
            "MEDMIRROR_LOCK_TIMEOUT": "2.5",
            "MEDMIRROR_LOG_LEVEL": "debug",
            "MEDMIRROR_LOG_JSON": "true",
            "MEDMIRROR_PG_BIN": "/opt/pg/bin",
        }
    )
    assert settings == Settings(
        dsn="postgresql://u@h/d",
        home=Path("/srv/m"),
        workers=7,
        chunk_bytes=2 * MIB,
        max_record_bytes=1024 * MIB,
        max_zip_ratio=50,
        lock_timeout=2.5,
        log_level="DEBUG",
        log_json=True,
        pg_bin=Path("/opt/pg/bin"),
    )


def test_an_override_wins_and_none_is_no_override() -> None:
    environment = {"MEDMIRROR_WORKERS": "7"}
    assert Settings.from_environment(environment, workers=3).workers == 3
    assert Settings.from_environment(environment, workers=None).workers == 7


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert Settings.from_environment({"MEDMIRROR_DSN": ""}).dsn is None


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_a_wrong_value_names_the_variable_and_shows_an_example(variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"{variable}: .*for example \S+\.$"):
        Settings.from_environment({variable: value})


def test_a_wrong_dsn_is_not_quoted_for_it_may_hold_a_password() -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_environment({"MEDMIRROR_DSN": "mysql://u:secret@h/d"})
    assert "secret" not in str(caught.value)


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(UsageError, match="worker"):
        Settings.from_environment({}, worker=3)


def test_settings_cross_to_a_worker() -> None:
    settings = Settings.from_environment({}, dsn="postgresql://u:secret@h/d")
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:secret@h/d",
        "postgresql+psycopg://u:secret@h:5432/d?sslmode=require",
        "postgresql://u:sec@secret@h/d",
        "postgresql://h/d?user=u&password=secret&x=1",
        "host=h password=secret user=u",
        "host=h password='a secret' user=u",
        r"host=h password='a\' secret' user=u",
        "host=h PASSWORD = secret sslpassword=secret",
    ],
)
def test_no_repr_shows_a_password(dsn: str) -> None:
    assert "secret" not in repr(Settings(dsn=dsn))
    assert "secret" not in mask_password(dsn)
    assert "***" in mask_password(dsn)


def test_an_option_of_the_service_stands_above_its_variable() -> None:
    environ = {"MEDMIRROR_AUDIT_DAYS": "30", "MEDMIRROR_SESSION_SECRET": "env:STATUS"}
    assert read(ServiceSettings, environ) == ServiceSettings("env:STATUS", 30)
    assert read(ServiceSettings, environ, audit_days=7, session_secret=None) == ServiceSettings("env:STATUS", 7)
    with pytest.raises(UsageError, match="MEDMIRROR_AUDIT_DAYS: the value 'long' is not a whole number"):
        read(ServiceSettings, {"MEDMIRROR_AUDIT_DAYS": "long"})


def test_no_repr_shows_a_secret() -> None:
    groups = (PayloadSettings("tiger"), SourceSettings("mysql://u:tiger@h/d", "tiger"), ServiceSettings("tiger"))
    assert not [group for group in groups if "tiger" in repr(group)]


def test_a_child_inherits_the_environment_but_for_what_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("HERE", "1")
    environ = child_environment(without="PG", PGPASSWORD="tiger")
    assert (environ["HERE"], environ["PGPASSWORD"], "PGHOST" in environ) == ("1", "tiger", False)
    assert child_environment()["PGHOST"] == "elsewhere"


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (2, 2), (3, 2), (4, 2), (8, 4), (64, 32)])
def test_half_the_processors_but_two_where_there_are_two(cpus: int, workers: int) -> None:
    assert default_workers(cpus) == workers
